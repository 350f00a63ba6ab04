#include "tinytrain/tt_norm.h"

void tt_layernorm_s8(int8_t *y, uint32_t *r, const int8_t *x, int32_t T, int32_t C, int32_t eps,
                     int32_t k, int32_t k_shift, int32_t shift) {
    for (int32_t t = 0; t < T; t++) {
        const int8_t *row = x + t * C;
        int32_t sum = 0, squares = 0;
        for (int32_t i = 0; i < C; i++) {
            const int32_t v = row[i];
            sum += v;
            squares += v * v;
        }
        const int64_t variance = (int64_t)C * squares - (int64_t)sum * sum + eps;
        const uint32_t root = tt_isqrt64((uint64_t)variance << 24);
        const uint64_t inverse = ((uint64_t)k << k_shift) / root;
        const int32_t factor = inverse > INT32_MAX ? INT32_MAX : (int32_t)inverse;
        r[t] = (uint32_t)factor;
        for (int32_t i = 0; i < C; i++) {
            y[t * C + i] = (int8_t)tt_requantize(C * row[i] - sum, factor, shift, 127);
        }
    }
}

/* What a row of the gradient shares: val = g * each - less - y * u. */
typedef struct {
    int32_t each;
    int32_t less;
    int32_t u;
} row_sums;

static row_sums sum_row(const int8_t *g, const int8_t *y, int32_t C, int32_t mult, int32_t shift,
                        int32_t fraction) {
    int32_t sum = 0, product = 0;
    for (int32_t i = 0; i < C; i++) {
        sum += g[i];
        product += g[i] * y[i];
    }
    const row_sums s = {
        .each = C * (1 << fraction),
        .less = sum * (1 << fraction),
        .u = tt_requantize(product, mult, shift, INT32_MAX),
    };
    return s;
}

static inline int32_t row_value(row_sums s, int32_t g, int32_t y) {
    return g * s.each - s.less - y * s.u;
}

void tt_layernorm_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *y, const uint32_t *r, const tt_step *st, int32_t T, int32_t C,
                        int32_t mult, int32_t shift, int32_t fraction, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int8_t *gr = g + t * C;
        const int8_t *yr = y + t * C;
        const row_sums s = sum_row(gr, yr, C, mult, shift, fraction);
        int32_t val_peak = 0;
        for (int32_t i = 0; i < C; i++) {
            const int32_t a = tt_abs(row_value(s, gr[i], yr[i]));
            val_peak = a > val_peak ? a : val_peak;
        }
        const uint64_t wide = (uint64_t)(uint32_t)val_peak * r[t];
        const int32_t bits = tt_bit_length64(wide);
        const int32_t drop = bits > 29 ? bits - 29 : 0; /* leaves |acc| <= 2^29 */
        const int32_t peak = (int32_t)(wide >> drop);
        const int32_t rest = tt_gradient_shift(peak);
        const int32_t factor = (int32_t)r[t];
        const uint32_t first = (uint32_t)((st->row + t) * C);
        for (int32_t i = 0; i < C; i++) {
            const int64_t acc = (int64_t)row_value(s, gr[i], yr[i]) * factor;
            gx[t * C + i] =
                tt_stochastic_shift((int32_t)(acc >> drop), rest, key, first + (uint32_t)i);
        }
        gx_exp[t] = tt_row_exponent(peak, g_exp[t] + exp_add + drop);
    }
}
