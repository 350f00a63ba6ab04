/* The state in two slots of flash; see keep.h. */
#include "keep.h"

#include "model.h"
#include "tinytrain/tt_crc.h"
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_runtime.h"
#include "tinytrain/tt_save.h"

#define MAGIC 0x31535454u /* "TTS1" */
#define PIECE_BYTES 32u   /* programmed at a time; a multiple of the unit of each port */

typedef struct {
    uint32_t magic, turn;
    uint32_t zeros[5];
    uint32_t crc; /* of all before */
} header;

_Static_assert(sizeof(header) == PIECE_BYTES, "a header is one piece");

/* A slot that is being written: the block comes in pieces of 8 bytes and more. */
typedef struct {
    uint32_t slot, at, filled;
    uint8_t piece[PIECE_BYTES];
} sink;

static uint32_t crc_of(const header *h) {
    return tt_crc32(0, (const uint8_t *)h, sizeof *h - sizeof h->crc);
}

static int32_t read_block(void *from, uint32_t at, uint8_t *out, uint32_t count) {
    return tt_port_flash_read(*(const uint32_t *)from, PIECE_BYTES + at, out, count);
}

/* What a slot holds; its turn, 0 where it holds nothing that is whole. */
static tt_kept look(uint32_t slot, uint32_t *turn) {
    header h;
    tt_saved block;
    *turn = 0;
    if (tt_port_flash_read(slot, 0, (uint8_t *)&h, sizeof h) || h.magic != MAGIC) {
        return TT_KEPT_NONE;
    }
    if (h.crc != crc_of(&h) ||
        !tt_saved_whole(read_block, &slot, tt_port_flash_bytes(slot) - PIECE_BYTES, &block)) {
        return TT_KEPT_DAMAGED;
    }
    *turn = h.turn;
    return block.hash == TT_MODEL_HASH ? TT_KEPT_YES : TT_KEPT_OTHER;
}

typedef struct {
    tt_kept kept;
    uint32_t slot; /* of what is kept; 1 where nothing is, so that the first goes to slot 0 */
    uint32_t turn; /* the highest of all */
} finding;

static finding look_at_both(void) {
    finding found = {TT_KEPT_NONE, 1, 0};
    uint32_t own = 0, turn;
    for (uint32_t slot = 0; slot < 2; slot++) {
        const tt_kept kept = look(slot, &turn);
        found.turn = turn > found.turn ? turn : found.turn;
        if (kept == TT_KEPT_YES && turn > own) {
            own = turn;
            found.slot = slot;
            found.kept = kept;
        } else if (own == 0 && kept != TT_KEPT_NONE && found.kept != TT_KEPT_OTHER) {
            found.kept = kept;
        }
    }
    return found;
}

uint32_t tt_keep_bytes(void) {
    const uint32_t first = tt_port_flash_bytes(0), second = tt_port_flash_bytes(1);
    return first < second ? first : second;
}

uint32_t tt_keep_needed(void) {
    const uint32_t block = TT_SAVE_HEADER_BYTES + tt_state_bytes() + TT_SAVE_TRAILER_BYTES;
    return PIECE_BYTES + (block + PIECE_BYTES - 1u) / PIECE_BYTES * PIECE_BYTES;
}

tt_kept tt_keep_load(void) {
    if (tt_keep_bytes() == 0) {
        return TT_KEPT_NONE;
    }
    finding found = look_at_both();
    if (found.kept == TT_KEPT_YES && tt_load_from(read_block, &found.slot) != TT_OK) {
        found.kept = TT_KEPT_DAMAGED;
    }
    return found.kept;
}

static int32_t flush(sink *s) {
    const uint32_t at = s->at;
    s->at += PIECE_BYTES;
    s->filled = 0;
    return tt_port_flash_program(s->slot, at, s->piece, PIECE_BYTES);
}

static int32_t write_block(void *to, uint32_t at, const uint8_t *bytes, uint32_t count) {
    sink *s = to;
    (void)at; /* pieces come one behind the other */
    for (uint32_t i = 0; i < count; i++) {
        s->piece[s->filled++] = bytes[i];
        if (s->filled == PIECE_BYTES && flush(s)) {
            return -1;
        }
    }
    return 0;
}

static int32_t write_slot(uint32_t slot, uint32_t turn) {
    sink s = {slot, PIECE_BYTES, 0, {0}};
    if (tt_port_flash_erase(slot) || tt_save(write_block, &s) != TT_OK ||
        (s.filled > 0 && flush(&s))) {
        return -1;
    }
    header h = {MAGIC, turn, {0}, 0};
    h.crc = crc_of(&h);
    uint32_t found;
    return tt_port_flash_program(slot, 0, (const uint8_t *)&h, sizeof h) ||
           look(slot, &found) != TT_KEPT_YES || found != turn;
}

static int32_t has_room(uint32_t needed) {
    return tt_keep_bytes() >= needed && PIECE_BYTES % tt_port_flash_unit() == 0;
}

tt_status tt_keep_save(void) {
    if (!has_room(tt_keep_needed())) {
        return TT_NO_ROOM;
    }
    const finding found = look_at_both();
    return write_slot(1u - found.slot, found.turn + 1u) ? TT_NOT_WRITTEN : TT_OK;
}

/* What is kept goes last, so that no older state comes back where the power is cut in between. */
tt_status tt_keep_forget(void) {
    if (!has_room(1)) {
        return TT_NO_ROOM;
    }
    const finding found = look_at_both();
    return tt_port_flash_erase(1u - found.slot) || tt_port_flash_erase(found.slot) ? TT_NOT_WRITTEN
                                                                                   : TT_OK;
}
