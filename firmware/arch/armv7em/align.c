#pragma GCC optimize("Os") /* the loops are assembly */

#include "lanes.h"
#include "tinytrain/tt_gradient.h"

void tt_align_grad_s8(int8_t *out, int16_t *out_exp, const int8_t *g, const int16_t *g_exp,
                      const tt_step *st, int32_t T, int32_t C, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    int32_t e = g_exp[0];
    for (int32_t t = 1; t < T; t++) {
        e = g_exp[t] > e ? g_exp[t] : e;
    }
    for (int32_t t = 0; t < T; t++, out += C, g += C) {
        const uint32_t first = (uint32_t)(t * C);
        const int32_t shift = e - g_exp[t];
        int32_t i = 0;
        if (shift <= 8 && C >= 4 && (first & 1u) == 0) {
            round_codes(out, g, key + (first >> 1) * TT_GOLDEN, C / 4, 8 - shift);
            i = C & ~3;
        }
        for (; i < C; i++) {
            out[i] = tt_stochastic_shift(g[i], shift, key, first + (uint32_t)i);
        }
    }
    out_exp[0] = (int16_t)e;
}
