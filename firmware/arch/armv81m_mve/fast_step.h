/* The step of weights from their sums, eight at once. */
#ifndef TT_FAST_STEP_H
#define TT_FAST_STEP_H

#include "quantize.h"
#include "step.h"

/* delta = clamp(round-half-up(sum * rate)) by the upper half of (sum << left) * mult. */
typedef struct {
    int32_t left, mult, up, limit;
} fast_rate;

/* Whether the rate has this form for these sums: it has not where it is 2^-33 or less, or so large
 * that they leave no bits for a shift. */
static inline int32_t is_fast(fast_rate *fast, const tt_weight_step *s, const int32_t *acc,
                              int32_t apart, int32_t n) {
    /* mult < 2^24 becomes mult < 2^31; a rate of 0 has any shift */
    const int32_t shift = s->rate.m == 0 ? 33 : s->rate.shift + 7;
    const int32_t left = shift < 33 ? 33 - shift : 0;
    fast->left = left;
    fast->mult = s->rate.m << 7;
    fast->up = 32 - shift - left;
    fast->limit = s->limit;
    return shift <= 62 && (left == 0 || (left <= 8 && peak_of(acc, apart, n) <= INT32_MAX >> left));
}

static inline int32x4_t delta_of(int32x4_t sum, const fast_rate *rate) {
    const int32x4_t high = vmulhq_s32(vshlq_r_s32(sum, rate->left), vdupq_n_s32(rate->mult));
    const int32x4_t limit = vdupq_n_s32(rate->limit);
    return vmaxq_s32(vminq_s32(vrshlq_n_s32(high, rate->up), limit), vnegq_s32(limit));
}

/* int8 weights: w - delta + noise, in units of 2^-16. */
static inline int32x4_t moved(int32x4_t w, int32x4_t delta, int32x4_t noise) {
    return vaddq_s32(vsubq_s32(vshlq_n_s32(w, 16), delta), noise);
}

/* Weights with a fraction: 256 w + fraction - delta. */
static inline int32x4_t moved_fine(int32x4_t w, int32x4_t fraction, int32x4_t delta) {
    const int32x4_t wide = vsubq_s32(vaddq_s32(vshlq_n_s32(w, 8), fraction), delta);
    return vmaxq_s32(vminq_s32(wide, vdupq_n_s32(127 * 256)), vdupq_n_s32(-127 * 256));
}

/* n weights, a multiple of 8; fraction or NULL. Gives the sum of the squares. */
static inline int64_t step_eights(int8_t *w, int8_t *fraction, const int32_t *acc, int32_t apart,
                                  int32_t n, const fast_rate *rate, uint32_t key, uint32_t first) {
    int64_t squares = 0;
    uint32x4_t number = numbers_from(key, first);
    for (int32_t i = 0; i < n; i += 8) {
        const int32x4_t even = sums(acc + apart * i, apart), odd = sums(acc + apart * i + 1, apart);
        const int32x4_t de = delta_of(even, rate), dd = delta_of(odd, rate);
        const int16x8_t old = vldrbq_s16(w + i);
        squares = vmlaldavaq_s32(squares, even, even);
        squares = vmlaldavaq_s32(squares, odd, odd);
        if (fraction == NULL) {
            const uint32x4_t hash = hashes(number);
            number = vaddq_n_u32(number, 4u * TT_GOLDEN);
            const int32x4_t e = moved(even_of(old), de, even_noise(hash));
            const int32x4_t d = moved(odd_of(old), dd, odd_noise(hash));
            const int16x8_t v = vshrntq_n_s32(vshrnbq_n_s32(vdupq_n_s16(0), e, 16), d, 16);
            vstrbq_s16(w + i, clamped(v, 127));
        } else {
            const int16x8_t part = vldrbq_s16(fraction + i);
            const int16x8_t v = joined(moved_fine(even_of(old), even_of(part), de),
                                       moved_fine(odd_of(old), odd_of(part), dd));
            const int16x8_t code = vrshrq_n_s16(v, 8);
            vstrbq_s16(w + i, code);
            vstrbq_s16(fraction + i, vsubq_s16(v, vshlq_n_s16(code, 8)));
        }
    }
    return squares;
}

/* tt_weight_step_row of sums in a line or in tiles. */
static inline void step_sums(tt_weight_step *s, int8_t *w, int8_t *fraction, const int32_t *acc,
                             int32_t apart, int32_t C, const float *coef) {
    if (coef != NULL) {
        s->rate = sgd_rate(s->eta, coef[0], s->exponent);
    }
    const tt_multiplier rate = s->rate;
    const int32_t first = s->count;
    w += first;
    fraction = fraction != NULL ? fraction + first : NULL;
    int32_t i = 0;
    fast_rate fast;
    if ((first & 1) == 0 && is_fast(&fast, s, acc, apart, C)) {
        i = C & ~7;
        const uint32_t number = (uint32_t)first;
        s->squares +=
            (uint64_t)(fraction == NULL
                           ? step_eights(w, NULL, acc, apart, i, &fast, s->key, number)
                           : step_eights(w, fraction, acc, apart, i, &fast, s->key, number));
    }
    for (; i < C; i++) {
        const int32_t sum = acc[sum_at(i, apart)], delta = tt_apply_multiplier(sum, rate, s->limit);
        s->squares += (uint64_t)((int64_t)sum * sum);
        if (fraction != NULL) {
            step_wide(w + i, fraction + i, delta);
        } else {
            const int32_t noise = tt_random16(s->key, (uint32_t)(first + i));
            w[i] = (int8_t)tt_clamp((w[i] * 65536 - delta + noise) >> 16, 127);
        }
    }
    s->count += C;
}

#endif
