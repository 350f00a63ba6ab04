/* The state as one block; see tt_save.h. */
#include "tinytrain/tt_save.h"

#include "model.h"
#include "tinytrain/tt_bytes.h"
#include "tinytrain/tt_crc.h"
#include "tinytrain/tt_runtime.h"

#define PIECE_BYTES 32u /* read at a time */

static void put(uint8_t *out, uint32_t value) {
    for (int32_t i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> 8 * i);
    }
}

tt_status tt_save(tt_writer *write, void *to) {
    const uint32_t bytes = tt_state_bytes();
    uint8_t words[8];
    put(words, TT_MODEL_HASH);
    put(words + 4, bytes);
    uint32_t crc = tt_crc32(0, words, sizeof words);
    int32_t failed = write(to, 0, words, sizeof words);
    for (uint32_t at = 0, run; !failed && at < bytes; at += run) {
        const uint8_t *place = tt_state_at(at, &run);
        crc = tt_crc32(crc, place, run);
        failed = write(to, TT_SAVE_HEADER_BYTES + at, place, run);
    }
    put(words, crc);
    put(words + 4, ~crc);
    failed = failed || write(to, TT_SAVE_HEADER_BYTES + bytes, words, sizeof words);
    return failed ? TT_NOT_WRITTEN : TT_OK;
}

int32_t tt_saved_whole(tt_reader *read, void *from, uint32_t most, tt_saved *found) {
    uint8_t piece[PIECE_BYTES];
    if (most < TT_SAVE_HEADER_BYTES + TT_SAVE_TRAILER_BYTES ||
        read(from, 0, piece, TT_SAVE_HEADER_BYTES)) {
        return 0;
    }
    found->hash = tt_get32(piece);
    found->state_bytes = tt_get32(piece + 4);
    if (found->state_bytes > most - TT_SAVE_HEADER_BYTES - TT_SAVE_TRAILER_BYTES) {
        return 0;
    }
    const uint32_t end = TT_SAVE_HEADER_BYTES + found->state_bytes;
    uint32_t crc = 0;
    for (uint32_t at = 0, run; at < end; at += run) {
        run = end - at < PIECE_BYTES ? end - at : PIECE_BYTES;
        if (read(from, at, piece, run)) {
            return 0;
        }
        crc = tt_crc32(crc, piece, run);
    }
    return !read(from, end, piece, TT_SAVE_TRAILER_BYTES) && tt_get32(piece) == crc &&
           tt_get32(piece + 4) == ~crc;
}

tt_status tt_load_from(tt_reader *read, void *from) {
    const uint32_t bytes = tt_state_bytes();
    const uint32_t most = TT_SAVE_HEADER_BYTES + bytes + TT_SAVE_TRAILER_BYTES;
    tt_saved found;
    if (!tt_saved_whole(read, from, most, &found) || found.hash != TT_MODEL_HASH ||
        found.state_bytes != bytes) {
        return TT_BAD_SAVE;
    }
    for (uint32_t at = 0, run; at < bytes; at += run) {
        uint8_t *place = tt_state_at(at, &run);
        if (read(from, TT_SAVE_HEADER_BYTES + at, place, run)) {
            return TT_BAD_SAVE;
        }
    }
    return TT_OK;
}
