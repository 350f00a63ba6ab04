#include "tinytrain/tt_gradient.h"

#include "tinytrain/tt_rows.h"

/* One row by shift with the numbers from first on. */
static void align_row(int8_t *out, const int8_t *g, int32_t n, int32_t shift, uint32_t key,
                      uint32_t first) {
    int32_t acc[TT_ROW_PART];
    for (int32_t at = 0; at < n; at += TT_ROW_PART) {
        const int32_t count = n - at < TT_ROW_PART ? n - at : TT_ROW_PART;
        for (int32_t i = 0; i < count; i++) {
            acc[i] = g[at + i];
        }
        tt_round_row(out + at, acc, count, shift, key, first + (uint32_t)at);
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
        align_row(out + t * C, g + t * C, C, e - g_exp[t], key, (uint32_t)(t * C));
    }
    out_exp[0] = (int16_t)e;
}
