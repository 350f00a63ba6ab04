/* The inner loops of attention in plain C. An arch that has its own defines TT_ARCH_LOOPS; one that runs
 * them where there is no room for anything faster, and has its own row_dots, TT_SMALL_LOOPS as 1. */
#ifndef TT_ATTENTION_LOOPS_H
#define TT_ATTENTION_LOOPS_H

#include "attention_rows.h"
#include "tinytrain/tt_tables.h"

#ifndef TT_SMALL_LOOPS
#define TT_SMALL_LOOPS 0

__attribute__((always_inline)) static inline void add_products(int32_t acc[4], const int8_t *x,
                                                               const int8_t *r0, const int8_t *r1,
                                                               const int8_t *r2, const int8_t *r3,
                                                               int32_t c) {
    acc[0] += x[c] * r0[c];
    acc[1] += x[c] * r1[c];
    acc[2] += x[c] * r2[c];
    acc[3] += x[c] * r3[c];
}

/* out[j] = x . rows[j], n rows of `width`, `stride` apart; gives the largest. Four rows a pass over x.
 * Past the last row the last one is repeated, and its product not stored. */
static inline int32_t row_dots(int32_t *restrict out, const int8_t *restrict x,
                               const int8_t *restrict rows, int32_t n, int32_t width,
                               int32_t stride) {
    int32_t top = INT32_MIN;
    for (int32_t j = 0; j < n; j += 4) {
        const int32_t left = n - j;
        const int8_t *restrict r0 = rows + j * stride;
        const int8_t *restrict r1 = r0 + (left > 1 ? stride : 0);
        const int8_t *restrict r2 = r1 + (left > 2 ? stride : 0);
        const int8_t *restrict r3 = r2 + (left > 3 ? stride : 0);
        int32_t acc[4] = {0, 0, 0, 0}, c = 0;
        for (; c + 2 <= width; c += 2) {
            add_products(acc, x, r0, r1, r2, r3, c);
            add_products(acc, x, r0, r1, r2, r3, c + 1);
        }
        if (c < width) {
            add_products(acc, x, r0, r1, r2, r3, c);
        }
        for (int32_t b = 0; b < 4 && b < left; b++) {
            out[j + b] = acc[b];
            top = acc[b] > top ? acc[b] : top;
        }
    }
    return top;
}

#endif

/* Scores -> exponentials; gives their sum. */
static inline uint32_t exponentials(int32_t *scores, int32_t n, int32_t top, tt_scaling scale) {
    uint32_t sum = 0;
    if (scale.shift <= 32 || TT_SMALL_LOOPS) {
        for (int32_t j = 0; j < n; j++) {
            const uint32_t e =
                tt_exp16[tt_requantized(top - scores[j], scale.mult, scale.shift, 255)];
            scores[j] = (int32_t)e;
            sum += e;
        }
        return sum;
    }
    /* The same from the upper word of the product. */
    const int32_t shift = scale.shift - 32, half = (int32_t)(1u << (shift - 1)), mult = scale.mult;
    for (int32_t j = 0; j < n; j++) {
        const int32_t high = (int32_t)(((int64_t)(top - scores[j]) * mult) >> 32);
        const int32_t t = (high + half) >> shift;
        const uint32_t e = tt_exp16[t > 255 ? 255 : t];
        scores[j] = (int32_t)e;
        sum += e;
    }
    return sum;
}

/* Exponentials -> n probabilities, and zeros up to a multiple of 4 and the end of the row. */
static inline void probabilities(uint8_t *p, const int32_t *e, int32_t n, uint32_t rec,
                                 int32_t end) {
    for (int32_t j = 0; j < n; j++) {
        p[j] = (uint8_t)(((uint32_t)e[j] * rec + (1u << 23)) >> 24);
    }
    for (int32_t j = n; (j & 3) && j < end; j++) {
        p[j] = 0;
    }
}

/* sum_j p[j] * d[j]. */
static inline int32_t weighted_total(const uint8_t *p, const int32_t *d, int32_t n) {
    int32_t sum = 0;
    for (int32_t j = 0; j < n; j++) {
        sum += p[j] * d[j];
    }
    return sum;
}

/* d[j] -> the gradient of score j. */
static inline void score_gradients(int32_t *d, const uint8_t *p, int32_t n, int32_t r) {
    for (int32_t j = 0; j < n; j++) {
        d[j] = tt_score_gradient(p[j], d[j], r);
    }
}

/* acc[0..3] = sum_s w[s * step] * x[s, 0..3] for n rows of x, `stride` apart; columns from width on
 * repeat the last one. w is uint8, or the bytes of int8. */
static inline void weighted_columns(int32_t acc[4], const uint8_t *w, int32_t step,
                                    int32_t is_signed, const int8_t *restrict x, int32_t width,
                                    int32_t n, int32_t stride) {
    const int32_t c1 = width > 1 ? 1 : 0, c2 = width > 2 ? 2 : c1, c3 = width > 3 ? 3 : c2;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    const int fast = width >= 4 && !TT_SMALL_LOOPS;
    for (int32_t s = 0; fast && s < n; s++, w += step, x += stride) {
        const int32_t u = is_signed ? (int8_t)w[0] : w[0];
        a0 += u * x[0];
        a1 += u * x[1];
        a2 += u * x[2];
        a3 += u * x[3];
    }
    for (int32_t s = 0; !fast && s < n; s++) {
        const int32_t u = is_signed ? (int8_t)w[s * step] : w[s * step];
        const int8_t *restrict row = x + s * stride;
        a0 += u * row[0];
        a1 += u * row[c1];
        a2 += u * row[c2];
        a3 += u * row[c3];
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

/* out[c] = sum_s w[s * step] * x[s,c], c < width. */
static inline void weighted_sum(int32_t *out, const uint8_t *w, int32_t step, int32_t is_signed,
                                const int8_t *x, int32_t width, int32_t n, int32_t stride) {
    for (int32_t c = 0; c < width; c += 4) {
        int32_t acc[4];
        weighted_columns(acc, w, step, is_signed, x + c, width - c, n, stride);
        for (int32_t b = 0; b < 4 && c + b < width; b++) {
            out[c + b] = acc[b];
        }
    }
}

/* y[c] = sum_s w[s] * x[s,c] as int8, c < width. */
static inline void weighted_codes(int8_t *y, const uint8_t *w, const int8_t *x, int32_t width,
                                  int32_t n, int32_t stride, tt_scaling scale) {
    for (int32_t c = 0; c < width; c += 4) {
        int32_t acc[4];
        weighted_columns(acc, w, 1, 0, x + c, width - c, n, stride);
        for (int32_t b = 0; b < 4 && c + b < width; b++) {
            y[c + b] =
                (int8_t)(TT_SMALL_LOOPS ? tt_requantized(acc[b], scale.mult, scale.shift, 127)
                                        : tt_requantize(acc[b], scale.mult, scale.shift, 127));
        }
    }
}

/* n elements as tt_stochastic_shift. 16 fraction bits, then the noise: floor(floor(a) + b) is floor(a + b) for whole b. */
static inline void aligned_row(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                               uint32_t first) {
    if (shift == 0 || shift > 30) {
        for (int32_t c = 0; c < n && !(shift == 0 && out == x); c++) {
            out[c] = shift == 0 ? x[c] : 0;
        }
        return;
    }
    const int32_t unit = shift < 16 ? 1 << (16 - shift) : 1, down = shift < 16 ? 0 : shift - 16;
    int32_t c = 0;
    if ((first & 1u) && n > 0) {
        out[0] = tt_stochastic_shift(x[0], shift, key, first);
        c = 1;
    }
    for (uint32_t number = key + ((first + 1u) >> 1) * TT_GOLDEN; c + 1 < n; c += 2) {
        const uint32_t r = tt_mix(number);
        out[c] = (int8_t)((((x[c] * unit) >> down) + (int32_t)(r & 0xFFFFu)) >> 16);
        out[c + 1] = (int8_t)((((x[c + 1] * unit) >> down) + (int32_t)(r >> 16)) >> 16);
        number += TT_GOLDEN;
    }
    if (c < n) {
        out[c] = tt_stochastic_shift(x[c], shift, key, first + (uint32_t)c);
    }
}

#endif
