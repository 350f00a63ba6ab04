#include "tinytrain/tt_norm.h"

#include "norm_rows.h"
#include "tinytrain/tt_rows.h"

static void scale_row(int8_t *y, const int8_t *x, int32_t C, norm_scale s) {
    TT_UNROLL
    for (int32_t i = 0; i < C; i++) {
        const int32_t wide = tt_multiply_high(x[i] * s.each - s.less, s.factor);
        y[i] = (int8_t)tt_clamp((wide + (1 << 15)) >> 16, 127);
    }
}

void tt_layernorm_s8(int8_t *y, uint32_t *r, const int8_t *x, int32_t T, int32_t C, int32_t eps,
                     int32_t k, int32_t k_shift, int32_t shift) {
    for (int32_t t = 0; t < T; t++, x += C, y += C) {
        int32_t sum = 0, squares = 0;
        TT_UNROLL
        for (int32_t i = 0; i < C; i++) {
            const int32_t v = x[i];
            sum += v;
            squares += v * v;
        }
        const int32_t factor = norm_factor(sum, squares, C, eps, k, k_shift);
        norm_scale s;
        r[t] = (uint32_t)factor;
        if (norm_scale_of(&s, sum, factor, C, shift)) {
            scale_row(y, x, C, s);
        } else {
            norm_row_wide(y, x, 0, sum, factor, C, shift);
        }
    }
}

/* n values; gives the larger of peak and their largest magnitude. */
static int32_t make_values(int32_t *values, const int8_t *g, const int8_t *y, int32_t n,
                           norm_values v, int32_t peak) {
    TT_UNROLL
    for (int32_t i = 0; i < n; i++) {
        const int32_t value = g[i] * v.each - v.less - y[i] * v.u, a = tt_abs(value);
        values[i] = value;
        peak = a > peak ? a : peak;
    }
    return peak;
}

void tt_layernorm_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *y, const uint32_t *r, const tt_step *st, int32_t T, int32_t C,
                        int32_t mult, int32_t shift, int32_t fraction, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++, g += C, y += C, gx += C) {
        int32_t values[TT_ROW_PART], sum = 0, product = 0, peak = 0, at = 0, count = 0;
        TT_UNROLL
        for (int32_t i = 0; i < C; i++) {
            sum += g[i];
            product += g[i] * y[i];
        }
        const norm_values v = norm_values_of(sum, product, C, mult, shift, fraction);
        for (int32_t next = 0; next < C; next += count) {
            at = next;
            count = C - at < TT_ROW_PART ? C - at : TT_ROW_PART;
            peak = make_values(values, g + at, y + at, count, v, peak);
        }
        if (peak == 0 || r[t] == 0) {
            gx_exp[t] = norm_zero_row(gx, C);
            continue;
        }
        const norm_grad_scale s = norm_grad_scale_of(peak, r[t]);
        const uint32_t first = (uint32_t)((st->row + t) * C);
        for (; at >= 0; at -= TT_ROW_PART, count = TT_ROW_PART) {
            if (at + count < C) { /* the last part is there from the search for the peak */
                (void)make_values(values, g + at, y + at, count, v, 0);
            }
            TT_UNROLL
            for (int32_t i = 0; i < count; i++) {
                values[i] = tt_multiply_high((int32_t)((uint32_t)values[i] << s.left), s.factor);
            }
            tt_round_row(gx + at, values, count, s.rest, key, first + (uint32_t)at);
        }
        gx_exp[t] = (int16_t)(g_exp[t] + exp_add + s.shift);
    }
}
