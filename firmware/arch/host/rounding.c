#include "tinytrain/tt_rows.h"

#include "chunks.h"

int32_t tt_peak(const int32_t *acc, int32_t n) {
    return tt_chunk_peak(acc, n);
}

void tt_round_row(int8_t *out, const int32_t *acc, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first) {
    int8_t held[TT_CHUNK]; /* out may share bytes with acc */
    for (int32_t at = 0; at < n; at += TT_CHUNK) {
        const int32_t size = tt_least(n - at, TT_CHUNK);
        tt_shift_chunk(held, acc + at, size, shift, key, first + (uint32_t)at);
        memcpy(out + at, held, (size_t)size);
    }
}
