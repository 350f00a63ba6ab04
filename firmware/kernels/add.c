#include "tinytrain/tt_elementwise.h"

void tt_add_s8(int8_t *y, const int8_t *a, const int8_t *b, int32_t count, int32_t ma, int32_t mb,
               int32_t shift) {
    const int32_t half = 1 << (shift - 1);
    TT_UNROLL
    for (int32_t i = 0; i < count; i++) {
        y[i] = (int8_t)tt_clamp((a[i] * ma + b[i] * mb + half) >> shift, 127);
    }
}
