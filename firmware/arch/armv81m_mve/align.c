#include "align.h"

#include "tinytrain/tt_gradient.h"

void tt_align_grad_s8(int8_t *out, int16_t *out_exp, const int8_t *g, const int16_t *g_exp,
                      const tt_step *st, int32_t T, int32_t C, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    int32_t e = g_exp[0];
    for (int32_t t = 1; t < T; t++) {
        e = g_exp[t] > e ? g_exp[t] : e;
    }
    for (int32_t t = 0; t < T; t++) {
        align_row(out + t * C, g + t * C, C, e - g_exp[t], key, (uint32_t)(t * C));
    }
    out_exp[0] = (int16_t)e;
}
