#include "tinytrain/tt_elementwise.h"

void tt_lut_s8(int8_t *y, const int8_t *x, const int8_t *table, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        y[i] = table[x[i] + 128];
    }
}

void tt_lut_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                  const int8_t *x, const int8_t *slope, const tt_step *st, int32_t T, int32_t C,
                  int32_t exp_add, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int8_t *gr = g + t * C;
        const int8_t *xr = x + t * C;
        int32_t peak = 0;
        for (int32_t i = 0; i < C; i++) {
            const int32_t a = tt_abs(gr[i] * slope[xr[i] + 128]);
            peak = a > peak ? a : peak;
        }
        const int32_t shift = tt_gradient_shift(peak);
        const uint32_t first = (uint32_t)((st->row + t) * C);
        for (int32_t i = 0; i < C; i++) {
            gx[t * C + i] =
                tt_stochastic_shift(gr[i] * slope[xr[i] + 128], shift, key, first + (uint32_t)i);
        }
        gx_exp[t] = tt_row_exponent(peak, g_exp[t] + exp_add);
    }
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

void tt_rescale_grad_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int16_t *m, const tt_step *st, int32_t T, int32_t C, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int8_t *gr = g + t * C;
        int32_t peak = 0;
        for (int32_t i = 0; i < C; i++) {
            const int32_t a = tt_abs(gr[i] * m[i]);
            peak = a > peak ? a : peak;
        }
        const int32_t shift = tt_gradient_shift(peak);
        const uint32_t first = (uint32_t)((st->row + t) * C);
        for (int32_t i = 0; i < C; i++) {
            gx[t * C + i] = tt_stochastic_shift(gr[i] * m[i], shift, key, first + (uint32_t)i);
        }
        gx_exp[t] = tt_row_exponent(peak, g_exp[t] + exp_add);
    }
}

void tt_repeat_exponent_s16(int16_t *out, const int16_t *e, int32_t T) {
    for (int32_t t = 0; t < T; t++) {
        out[t] = e[0];
    }
}
