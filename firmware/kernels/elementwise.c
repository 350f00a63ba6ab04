#include "tinytrain/tt_elementwise.h"

void tt_lut_s8(int8_t *y, const int8_t *x, const int8_t *table, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        y[i] = table[x[i] + 128];
    }
}

void tt_lut_dx_s8(int8_t *gx, int32_t *gx_exp, const int8_t *g, const int32_t *g_exp,
                  const int8_t *x, const int8_t *slope, const tt_step *st, int32_t count,
                  int32_t exp_add, int32_t stream) {
    int32_t peak = 0;
    for (int32_t i = 0; i < count; i++) {
        const int32_t a = tt_abs(g[i] * slope[x[i] + 128]);
        peak = a > peak ? a : peak;
    }
    const int32_t shift = tt_gradient_shift(peak);
    const uint32_t key = tt_key(st, stream);
    for (int32_t i = 0; i < count; i++) {
        gx[i] = tt_stochastic_shift(g[i] * slope[x[i] + 128], shift, key, (uint32_t)i);
    }
    gx_exp[0] = g_exp[0] + shift + exp_add;
}

void tt_add_s8(int8_t *y, const int8_t *a, const int8_t *b, int32_t count, int32_t ma, int32_t mb,
               int32_t shift) {
    const int32_t half = 1 << (shift - 1);
    for (int32_t i = 0; i < count; i++) {
        y[i] = (int8_t)tt_clamp((a[i] * ma + b[i] * mb + half) >> shift, 127);
    }
}

void tt_affine_s8(int8_t *y, const int8_t *x, const int32_t *m, const int32_t *c, int32_t T,
                  int32_t C, int32_t shift) {
    const int32_t half = 1 << (shift - 1);
    for (int32_t t = 0; t < T; t++) {
        for (int32_t i = 0; i < C; i++) {
            const int32_t at = t * C + i;
            y[at] = (int8_t)tt_clamp((x[at] * m[i] + c[i] + half) >> shift, 127);
        }
    }
}

void tt_rescale_grad_s8(int8_t *gx, int32_t *gx_exp, const int8_t *g, const int32_t *g_exp,
                        const int16_t *m, const tt_step *st, int32_t T, int32_t C, int32_t exp_add,
                        int32_t stream) {
    int32_t peak = 0;
    for (int32_t t = 0; t < T; t++) {
        for (int32_t i = 0; i < C; i++) {
            const int32_t a = tt_abs(g[t * C + i] * m[i]);
            peak = a > peak ? a : peak;
        }
    }
    const int32_t shift = tt_gradient_shift(peak);
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        for (int32_t i = 0; i < C; i++) {
            const int32_t at = t * C + i;
            gx[at] = tt_stochastic_shift(g[at] * m[i], shift, key, (uint32_t)at);
        }
    }
    gx_exp[0] = g_exp[0] + shift + exp_add;
}
