/* Rows of sums -> int8 with stochastic rounding, eight at a time: as tt_quantize_row. */
#ifndef TT_QUANTIZE_H
#define TT_QUANTIZE_H

#include "vectors.h"

/* Largest |acc| of n. */
static inline int32_t peak_of(const int32_t *acc, int32_t apart, int32_t n) {
    uint32_t peak = 0;
    int32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        peak = vmaxavq_s32(peak, sums(acc + apart * i, apart));
        peak = vmaxavq_s32(peak, sums(acc + apart * i + 1, apart));
    }
    for (; i < n; i++) {
        const uint32_t a = (uint32_t)tt_abs(acc[sum_at(i, apart)]);
        peak = a > peak ? a : peak;
    }
    return (int32_t)peak;
}

/* out[i] = tt_stochastic_shift(acc[i], shift, key, first + i), |acc| < 2^min(7 + shift, 30). In a line
 * out may share its first bytes with acc. */
static inline void round_sums(int8_t *out, const int32_t *acc, int32_t apart, int32_t n,
                              int32_t shift, uint32_t key, uint32_t first) {
    int32_t i = 0;
    if (shift > 0 && shift <= 30 && (first & 1u) == 0) {
        const int32_t of_noise = shift - 16, up = -shift;
        uint32x4_t number = numbers_from(key, first);
        for (; i + 8 <= n; i += 8) {
            const uint32x4_t hash = hashes(number);
            number = vaddq_n_u32(number, 4u * TT_GOLDEN);
            const int32x4_t even =
                vaddq_s32(sums(acc + apart * i, apart), vshlq_r_s32(even_noise(hash), of_noise));
            const int32x4_t odd =
                vaddq_s32(sums(acc + apart * i + 1, apart), vshlq_r_s32(odd_noise(hash), of_noise));
            const int16x8_t v = joined(vshlq_r_s32(even, up), vshlq_r_s32(odd, up));
            vstrbq_s16(out + i, clamped(v, 127));
        }
    }
    for (; i < n; i++) {
        out[i] = tt_stochastic_shift(acc[sum_at(i, apart)], shift, key, first + (uint32_t)i);
    }
}

/* A row as tt_quantize_row. */
static inline int16_t quantize(int8_t *out, const int32_t *acc, int32_t apart, int32_t n,
                               int32_t base, uint32_t key, uint32_t first) {
    const int32_t peak = peak_of(acc, apart, n);
    round_sums(out, acc, apart, n, tt_gradient_shift(peak), key, first);
    return tt_row_exponent(peak, base);
}

#endif
