#include "tinytrain/tt_norm.h"

#include <arm_mve.h>

#include "norm_rows.h"
#include "tinytrain/tt_rows.h"

/* Sum of x, and of x * y. */
static inline int32_t sum_of(const int8_t *x, const int8_t *y, int32_t C, int32_t *product) {
    int32_t sum = 0, products = 0;
    for (; C > 0; C -= 16, x += 16, y += 16) {
        const mve_pred16_t here = vctp8q((uint32_t)C);
        const int8x16_t a = vldrbq_z_s8(x, here);
        sum = vaddvaq_s8(sum, a);
        products = vmladavaq_s8(products, a, vldrbq_z_s8(y, here));
    }
    *product = products;
    return sum;
}

static void scale_row(int8_t *y, const int8_t *x, int32_t C, norm_scale s) {
    const int32x4_t most = vdupq_n_s32(127), least = vdupq_n_s32(-127);
    const int32x4_t less = vdupq_n_s32(s.less), factor = vdupq_n_s32(s.factor);
    int32_t i = 0;
    for (; i + 4 <= C; i += 4) {
        const int32x4_t v = vsubq_s32(vmulq_n_s32(vldrbq_s32(x + i), s.each), less);
        const int32x4_t wide = vrshrq_n_s32(vmulhq_s32(v, factor), 16);
        vstrbq_s32(y + i, vmaxq_s32(vminq_s32(wide, most), least));
    }
    for (; i < C; i++) {
        const int32_t wide = tt_multiply_high(x[i] * s.each - s.less, s.factor);
        y[i] = (int8_t)tt_clamp((wide + (1 << 15)) >> 16, 127);
    }
}

void tt_layernorm_s8(int8_t *y, uint32_t *r, const int8_t *x, int32_t T, int32_t C, int32_t eps,
                     int32_t k, int32_t k_shift, int32_t shift) {
    for (int32_t t = 0; t < T; t++, x += C, y += C) {
        int32_t squares;
        const int32_t sum = sum_of(x, x, C, &squares);
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
    const int32x4_t less = vdupq_n_s32(-v.less);
    uint32_t largest = (uint32_t)peak;
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const int32x4_t a = vmlaq_n_s32(less, vldrbq_s32(g + i), v.each);
        const int32x4_t value = vmlaq_n_s32(a, vldrbq_s32(y + i), -v.u);
        largest = vmaxavq_s32(largest, value);
        vstrwq_s32(values + i, value);
    }
    for (; i < n; i++) {
        values[i] = g[i] * v.each - v.less - y[i] * v.u;
        const uint32_t a = (uint32_t)tt_abs(values[i]);
        largest = a > largest ? a : largest;
    }
    return (int32_t)largest;
}

static void scale_values(int32_t *values, int32_t n, norm_grad_scale s) {
    const int32x4_t factor = vdupq_n_s32(s.factor);
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const int32x4_t v = vshlq_r_s32(vldrwq_s32(values + i), s.left);
        vstrwq_s32(values + i, vmulhq_s32(v, factor));
    }
    for (; i < n; i++) {
        values[i] = tt_multiply_high((int32_t)((uint32_t)values[i] << s.left), s.factor);
    }
}

void tt_layernorm_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *y, const uint32_t *r, const tt_step *st, int32_t T, int32_t C,
                        int32_t mult, int32_t shift, int32_t fraction, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++, g += C, y += C, gx += C) {
        int32_t values[TT_ROW_PART], product, peak = 0, at = 0, count = 0;
        const int32_t sum = sum_of(g, y, C, &product);
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
            scale_values(values, count, s);
            tt_round_row(gx + at, values, count, s.rest, key, first + (uint32_t)at);
        }
        gx_exp[t] = (int16_t)(g_exp[t] + exp_add + s.shift);
    }
}
