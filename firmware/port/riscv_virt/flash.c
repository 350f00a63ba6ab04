/* The state in the NOR flash of QEMU's machine "virt": Intel's command set (CFI 0001) on two chips
 * of 16 bits side by side, so that each command and status stands twice in a word. */
#include "tinytrain/tt_bytes.h"
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_slots.h"

#ifdef TT_SLOT_0_ORIGIN

#define BLOCK_BYTES 0x40000u
#define UNIT 4u

#define TWICE(value) ((uint32_t)(value) << 16 | (value))
#define READ_ARRAY TWICE(0xFFu)
#define CLEAR_STATUS TWICE(0x50u)
#define ERASE TWICE(0x20u)
#define ERASE_CONFIRM TWICE(0xD0u)
#define PROGRAM TWICE(0x40u)
#define READY TWICE(0x80u)
#define ERRORS TWICE(0x3Au)

static volatile uint32_t *word_at(uint32_t slot, uint32_t offset) {
    return (volatile uint32_t *)(uintptr_t)(tt_slots[slot].origin + offset);
}

/* Two writes, the status, and back to reading. */
static int32_t command(volatile uint32_t *place, uint32_t first, uint32_t second) {
    *place = CLEAR_STATUS;
    *place = first;
    *place = second;
    uint32_t status;
    do {
        status = *place;
    } while ((status & READY) != READY);
    *place = READ_ARRAY;
    return (status & ERRORS) == 0;
}

uint32_t tt_port_flash_bytes(uint32_t slot) {
    return tt_slots[slot].bytes;
}

uint32_t tt_port_flash_unit(void) {
    return UNIT;
}

int32_t tt_port_flash_read(uint32_t slot, uint32_t offset, uint8_t *out, uint32_t count) {
    if (!tt_slot_holds(slot, offset, count)) {
        return -1;
    }
    const volatile uint8_t *from = (const volatile uint8_t *)word_at(slot, offset);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = from[i];
    }
    return 0;
}

int32_t tt_port_flash_erase(uint32_t slot) {
    int32_t good = 1;
    for (uint32_t at = 0; good && at < tt_slots[slot].bytes; at += BLOCK_BYTES) {
        good = command(word_at(slot, at), ERASE, ERASE_CONFIRM);
    }
    for (uint32_t at = 0; good && at < tt_slots[slot].bytes; at += 4) {
        good = *word_at(slot, at) == 0xFFFFFFFFu;
    }
    return good ? 0 : -1;
}

int32_t tt_port_flash_program(uint32_t slot, uint32_t offset, const uint8_t *bytes,
                              uint32_t count) {
    if (!tt_slot_holds(slot, offset, count) || (offset | count) % UNIT != 0) {
        return -1;
    }
    int32_t good = 1;
    for (uint32_t at = 0; good && at < count; at += UNIT) {
        const uint32_t word = tt_get32(bytes + at);
        volatile uint32_t *place = word_at(slot, offset + at);
        good = command(place, PROGRAM, word) && *place == word;
    }
    return good ? 0 : -1;
}

#endif
