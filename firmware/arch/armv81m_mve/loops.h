/* The inner loops of attention by Helium: what kernels/attention_loops.h has in plain C. */
#ifndef TT_LOOPS_H
#define TT_LOOPS_H

#define TT_ARCH_LOOPS

#include "align.h"
#include "attention_rows.h"
#include "tinytrain/tt_tables.h"

/* x . row. */
static inline int32_t row_dot(const int8_t *x, const int8_t *row, int32_t width) {
    int32_t sum = 0;
    for (; width > 0; width -= 16, x += 16, row += 16) {
        const mve_pred16_t here = vctp8q((uint32_t)width);
        sum = vmladavaq_s8(sum, vldrbq_z_s8(x, here), vldrbq_z_s8(row, here));
    }
    return sum;
}

/* x by four rows of 16 * turns elements. */
static inline void four_dots(int32_t *out, const int8_t *x, const int8_t *r0, int32_t stride,
                             int32_t turns) {
    const int8_t *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    do {
        const int8x16_t u = vldrbq_s8(x);
        a0 = vmladavaq_s8(a0, u, vldrbq_s8(r0));
        a1 = vmladavaq_s8(a1, u, vldrbq_s8(r1));
        a2 = vmladavaq_s8(a2, u, vldrbq_s8(r2));
        a3 = vmladavaq_s8(a3, u, vldrbq_s8(r3));
        x += 16;
        r0 += 16;
        r1 += 16;
        r2 += 16;
        r3 += 16;
    } while (--turns > 0);
    out[0] = a0;
    out[1] = a1;
    out[2] = a2;
    out[3] = a3;
}

/* out[j] = x . rows[j], n rows of `width`, `stride` apart; gives the largest. */
static inline int32_t row_dots(int32_t *out, const int8_t *x, const int8_t *rows, int32_t n,
                               int32_t width, int32_t stride) {
    int32_t j = 0;
    if (width == 16) { /* heads of most models */
        for (; j + 4 <= n; j += 4, rows += 4 * stride) {
            four_dots(out + j, x, rows, stride, 1);
        }
    } else if ((width & 15) == 0) {
        for (; j + 4 <= n; j += 4, rows += 4 * stride) {
            four_dots(out + j, x, rows, stride, width >> 4);
        }
    }
    for (; j < n; j++, rows += stride) {
        out[j] = row_dot(x, rows, width);
    }
    int32_t top = INT32_MIN;
    for (j = 0; j + 4 <= n; j += 4) {
        top = vmaxvq_s32(top, vldrwq_s32(out + j));
    }
    for (; j < n; j++) {
        top = out[j] > top ? out[j] : top;
    }
    return top;
}

/* Scores -> exponentials; gives their sum. */
static inline uint32_t exponentials(int32_t *scores, int32_t n, int32_t top, tt_scaling scale) {
    const int32x4_t mult = vdupq_n_s32(scale.mult), most = vdupq_n_s32(255);
    const int32x4_t largest = vdupq_n_s32(top);
    uint32_t sum = 0;
    int32_t j = 0;
    for (; scale.shift > 32 && j + 4 <= n; j += 4) { /* as tt_requantize: see linear.c */
        const int32x4_t high = vmulhq_s32(vsubq_s32(largest, vldrwq_s32(scores + j)), mult);
        const int32x4_t at = vminq_s32(vrshlq_n_s32(high, 32 - scale.shift), most);
        const uint32x4_t e = vldrhq_gather_shifted_offset_u32(tt_exp16, vreinterpretq_u32_s32(at));
        sum = vaddvaq_u32(sum, e);
        vstrwq_u32((uint32_t *)scores + j, e);
    }
    for (; j < n; j++) {
        const uint32_t e = tt_exp16[tt_requantize(top - scores[j], scale.mult, scale.shift, 255)];
        scores[j] = (int32_t)e;
        sum += e;
    }
    return sum;
}

/* Exponentials -> n probabilities, and zeros up to a multiple of 4 and the end of the row. */
static inline void probabilities(uint8_t *p, const int32_t *e, int32_t n, uint32_t rec,
                                 int32_t end) {
    int32_t j = 0;
    for (; j + 4 <= n; j += 4) {
        const uint32x4_t wide = vmulq_n_u32(vldrwq_u32((const uint32_t *)e + j), rec);
        vstrbq_u32(p + j, vrshrq_n_u32(wide, 24));
    }
    for (; j < n; j++) {
        p[j] = (uint8_t)(((uint32_t)e[j] * rec + (1u << 23)) >> 24);
    }
    for (j = n; (j & 3) && j < end; j++) {
        p[j] = 0;
    }
}

static inline int32x4_t probs_at(const uint8_t *p) {
    return vreinterpretq_s32_u32(vldrbq_u32(p));
}

/* sum_j p[j] * d[j]. */
static inline int32_t weighted_total(const uint8_t *p, const int32_t *d, int32_t n) {
    int32_t sum = 0, j = 0;
    for (; j + 4 <= n; j += 4) {
        sum = vmladavaq_s32(sum, probs_at(p + j), vldrwq_s32(d + j));
    }
    for (; j < n; j++) {
        sum += p[j] * d[j];
    }
    return sum;
}

/* d[j] -> the gradient of score j. */
static inline void score_gradients(int32_t *d, const uint8_t *p, int32_t n, int32_t r) {
    const int32x4_t less = vdupq_n_s32(128 - r);
    int32_t j = 0;
    for (; j + 4 <= n; j += 4) {
        const int32x4_t wide = vmlaq_n_s32(less, vldrwq_s32(d + j), 255);
        vstrwq_s32(d + j, vmulq_s32(vshrq_n_s32(wide, 8), probs_at(p + j)));
    }
    for (; j < n; j++) {
        d[j] = tt_score_gradient(p[j], d[j], r);
    }
}

/* 16 columns: out[c] = sum_s w[s * step] * x[s,c]. w is uint8, or the bytes of int8. */
static inline void weighted_16(int32_t *out, const uint8_t *w, int32_t step, int32_t is_signed,
                               const int8_t *x, int32_t n, int32_t stride) {
    int32x4_t a = vdupq_n_s32(0), b = a, c = a, d = a;
    for (; n > 0; n--, w += step, x += stride) {
        const int32_t u = is_signed ? (int8_t)*w : *w;
        a = vmlaq_n_s32(a, vldrbq_s32(x), u);
        b = vmlaq_n_s32(b, vldrbq_s32(x + 4), u);
        c = vmlaq_n_s32(c, vldrbq_s32(x + 8), u);
        d = vmlaq_n_s32(d, vldrbq_s32(x + 12), u);
    }
    vstrwq_s32(out, a);
    vstrwq_s32(out + 4, b);
    vstrwq_s32(out + 8, c);
    vstrwq_s32(out + 12, d);
}

/* The same of up to four columns. */
static inline void weighted_4(int32_t *out, const uint8_t *w, int32_t step, int32_t is_signed,
                              const int8_t *x, int32_t width, int32_t n, int32_t stride) {
    const mve_pred16_t here = vctp32q((uint32_t)width);
    int32x4_t a = vdupq_n_s32(0);
    for (; n > 0; n--, w += step, x += stride) {
        a = vmlaq_n_s32(a, vldrbq_z_s32(x, here), is_signed ? (int8_t)*w : *w);
    }
    vstrwq_p_s32(out, a, here);
}

/* out[c] = sum_s w[s * step] * x[s,c], c < width. */
static inline void weighted_sum(int32_t *out, const uint8_t *w, int32_t step, int32_t is_signed,
                                const int8_t *x, int32_t width, int32_t n, int32_t stride) {
    int32_t c = 0;
    for (; c + 16 <= width; c += 16) {
        weighted_16(out + c, w, step, is_signed, x + c, n, stride);
    }
    for (; c < width; c += 4) {
        weighted_4(out + c, w, step, is_signed, x + c, width - c, n, stride);
    }
}

/* acc -> int8 as tt_requantize. */
static inline void codes_of(int8_t *y, const int32_t *acc, int32_t n, tt_scaling scale) {
    int32_t i = 0;
    for (; scale.shift > 32 && i + 4 <= n; i += 4) {
        const int32x4_t high = vmulhq_s32(vldrwq_s32(acc + i), vdupq_n_s32(scale.mult));
        const int32x4_t v = vrshlq_n_s32(high, 32 - scale.shift);
        vstrbq_s32(y + i, vmaxq_s32(vminq_s32(v, vdupq_n_s32(127)), vdupq_n_s32(-127)));
    }
    for (; i < n; i++) {
        y[i] = (int8_t)tt_requantize(acc[i], scale.mult, scale.shift, 127);
    }
}

/* y[c] = sum_s w[s] * x[s,c] as int8, c < width. */
static inline void weighted_codes(int8_t *y, const uint8_t *w, const int8_t *x, int32_t width,
                                  int32_t n, int32_t stride, tt_scaling scale) {
    for (int32_t c = 0; c < width; c += 16) {
        const int32_t count = width - c < 16 ? width - c : 16;
        int32_t acc[16];
        weighted_sum(acc, w, 1, 0, x + c, count, n, stride);
        codes_of(y + c, acc, count, scale);
    }
}

static inline void aligned_row(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                               uint32_t first) {
    align_row(out, x, n, shift, key, first);
}

#endif
