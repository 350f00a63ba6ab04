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

void tt_layernorm_dx_s8(int8_t *gx, int32_t *gx_exp, const int8_t *g, const int32_t *g_exp,
                        const int8_t *y, const uint32_t *r, const tt_step *st, int32_t T, int32_t C,
                        int32_t mult, int32_t shift, int32_t fraction, int32_t exp_add,
                        int32_t stream) {
    uint64_t peak = 0;
    for (int32_t t = 0; t < T; t++) {
        const int8_t *gr = g + t * C;
        const int8_t *yr = y + t * C;
        const row_sums s = sum_row(gr, yr, C, mult, shift, fraction);
        int32_t row_peak = 0;
        for (int32_t i = 0; i < C; i++) {
            const int32_t a = tt_abs(row_value(s, gr[i], yr[i]));
            row_peak = a > row_peak ? a : row_peak;
        }
        const uint64_t wide = (uint64_t)(uint32_t)row_peak * r[t];
        peak = wide > peak ? wide : peak;
    }
    int32_t whole = tt_bit_length64(peak) - 7;
    whole = whole > 0 ? whole : 0;
    const int32_t first = whole > 22 ? whole - 22 : 0; /* leaves |acc| <= 2^29 */
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int8_t *gr = g + t * C;
        const int8_t *yr = y + t * C;
        const row_sums s = sum_row(gr, yr, C, mult, shift, fraction);
        const int32_t factor = (int32_t)r[t];
        for (int32_t i = 0; i < C; i++) {
            const int64_t wide = (int64_t)row_value(s, gr[i], yr[i]) * factor;
            gx[t * C + i] = tt_stochastic_shift((int32_t)(wide >> first), whole - first, key,
                                                (uint32_t)(t * C + i));
        }
    }
    gx_exp[0] = g_exp[0] + whole + exp_add;
}
