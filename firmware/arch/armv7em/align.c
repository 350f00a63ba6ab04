#pragma GCC optimize("Os") /* the loops are assembly */

#include "../../kernels/attention_rows.h"
#include "dsp.h"
#include "lanes.h"
#include "tinytrain/tt_gradient.h"

LANES_FUNCTION(round_codes, "ldr r11, [r1], #4\n"
                            "sxtb16 lr, r11, ror #8\n"
                            "sxtb16 r11, r11\n")

void tt_align_row(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first) {
    int32_t i = 0;
    if (shift == 0 && out == x) {
        return;
    }
    for (; shift == 0 && i + 4 <= n; i += 4) {
        dsp_store(out + i, dsp_load(x + i));
    }
    if (shift > 0 && shift <= 8 && n >= 4 && (first & 1u) == 0) {
        round_codes(out, x, key + (first >> 1) * TT_GOLDEN, n >> 2, 8 - shift);
        i = n & ~3;
    }
    for (; i < n; i++) {
        out[i] = tt_stochastic_shift(x[i], shift, key, first + (uint32_t)i);
    }
}

void tt_align_grad_s8(int8_t *out, int16_t *out_exp, const int8_t *g, const int16_t *g_exp,
                      const tt_step *st, int32_t T, int32_t C, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    int32_t e = g_exp[0];
    for (int32_t t = 1; t < T; t++) {
        e = g_exp[t] > e ? g_exp[t] : e;
    }
    for (int32_t t = 0; t < T; t++) {
        tt_align_row(out + t * C, g + t * C, C, e - g_exp[t], key, (uint32_t)(t * C));
    }
    out_exp[0] = (int16_t)e;
}
