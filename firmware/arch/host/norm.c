#include "tinytrain/tt_norm.h"

#include "chunks.h"
#include "fixed.h"

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
        for (int32_t at = 0; at < C; at += TT_CHUNK) {
            const int32_t n = tt_least(C - at, TT_CHUNK);
            int32_t wide[TT_CHUNK];
            for (int32_t i = 0; i < n; i++) {
                wide[i] = C * row[at + i] - sum;
            }
            tt_scale_all(wide, n, factor, shift, 127);
            for (int32_t i = 0; i < n; i++) {
                y[t * C + at + i] = (int8_t)wide[i];
            }
        }
    }
}

/* What a row of the gradient shares: val = g * each - less - y * u. */
typedef struct {
    const int8_t *g, *y;
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
        .g = g,
        .y = y,
        .each = C * (1 << fraction),
        .less = sum * (1 << fraction),
        .u = tt_requantize(product, mult, shift, INT32_MAX),
    };
    return s;
}

static void values(int32_t *restrict val, const row_sums *s, int32_t at, int32_t n) {
    const int8_t *restrict g = s->g + at, *restrict y = s->y + at;
    const int32_t each = s->each, less = s->less, u = s->u;
    for (int32_t i = 0; i < n; i++) {
        val[i] = g[i] * each - less - y[i] * u;
    }
}

void tt_layernorm_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *y, const uint32_t *r, const tt_step *st, int32_t T, int32_t C,
                        int32_t mult, int32_t shift, int32_t fraction, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const row_sums s = sum_row(g + t * C, y + t * C, C, mult, shift, fraction);
        int32_t val[TT_CHUNK];
        int32_t val_peak = 0;
        for (int32_t at = 0; at < C; at += TT_CHUNK) {
            const int32_t n = tt_least(C - at, TT_CHUNK);
            values(val, &s, at, n);
            for (int32_t i = 0; i < n; i++) {
                const int32_t a = tt_abs(val[i]);
                val_peak = a > val_peak ? a : val_peak;
            }
        }
        const uint64_t wide = (uint64_t)(uint32_t)val_peak * r[t];
        const int32_t bits = tt_bit_length64(wide);
        const int32_t drop = bits > 29 ? bits - 29 : 0; /* leaves |acc| <= 2^29 */
        const int32_t peak = (int32_t)(wide >> drop);
        const int32_t rest = tt_gradient_shift(peak);
        const int64_t factor = (int32_t)r[t];
        for (int32_t at = 0; at < C; at += TT_CHUNK) {
            const int32_t n = tt_least(C - at, TT_CHUNK);
            if (C > TT_CHUNK) {
                values(val, &s, at, n);
            }
            for (int32_t i = 0; i < n; i++) {
                val[i] = (int32_t)(val[i] * factor >> drop);
            }
            tt_shift_chunk(gx + t * C + at, val, n, rest, key, (uint32_t)((st->row + t) * C + at));
        }
        gx_exp[t] = tt_row_exponent(peak, g_exp[t] + exp_add + drop);
    }
}
