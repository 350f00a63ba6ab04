#include "tinytrain/tt_elementwise.h"

#include "tinytrain/tt_rows.h"

void tt_affine_s8(int8_t *y, const int8_t *x, const int32_t *m, const int32_t *c, int32_t T,
                  int32_t C, int32_t shift) {
    const int32_t half = 1 << (shift - 1);
    for (int32_t t = 0; t < T; t++) {
        TT_UNROLL
        for (int32_t i = 0; i < C; i++) {
            const int32_t at = t * C + i;
            y[at] = (int8_t)tt_clamp((x[at] * m[i] + c[i] + half) >> shift, 127);
        }
    }
}

typedef struct {
    const int8_t *g;
    const int16_t *m;
} scaled_row;

static void make_scaled(int32_t *restrict acc, const void *row, int32_t from, int32_t n) {
    const scaled_row *r = (const scaled_row *)row;
    const int8_t *g = r->g + from;
    const int16_t *m = r->m + from;
    TT_UNROLL
    for (int32_t i = 0; i < n; i++) {
        acc[i] = g[i] * m[i];
    }
}

void tt_rescale_grad_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int16_t *m, const tt_step *st, int32_t T, int32_t C, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const scaled_row row = {g + t * C, m};
        gx_exp[t] = tt_quantize_made(gx + t * C, make_scaled, &row, C, g_exp[t] + exp_add, key,
                                     (uint32_t)((st->row + t) * C));
    }
}
