#include "chunks.h"
#include "tinytrain/tt_elementwise.h"

void tt_add_s8(int8_t *y, const int8_t *a, const int8_t *b, int32_t count, int32_t ma, int32_t mb,
               int32_t shift) {
    const int32_t half = 1 << (shift - 1);
    for (int32_t at = 0; at < count; at += TT_CHUNK) {
        const int32_t n = tt_least(count - at, TT_CHUNK);
        int8_t held[TT_CHUNK];
        for (int32_t i = 0; i < n; i++) {
            held[i] = (int8_t)tt_clamp((a[at + i] * ma + b[at + i] * mb + half) >> shift, 127);
        }
        memcpy(y + at, held, (size_t)n);
    }
}
