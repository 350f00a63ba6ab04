/* For ports that keep the state in flash: its two slots, as board.toml has them. */
#ifndef TT_SLOTS_H
#define TT_SLOTS_H

#include <stdint.h>

#ifdef TT_SLOT_0_ORIGIN

static const struct {
    uint32_t origin, bytes;
} tt_slots[2] = {{TT_SLOT_0_ORIGIN, TT_SLOT_0_BYTES}, {TT_SLOT_1_ORIGIN, TT_SLOT_1_BYTES}};

/* Whether `count` bytes from `offset` on lie in a slot. */
static inline int32_t tt_slot_holds(uint32_t slot, uint32_t offset, uint32_t count) {
    return offset <= tt_slots[slot].bytes && count <= tt_slots[slot].bytes - offset;
}

#endif
#endif
