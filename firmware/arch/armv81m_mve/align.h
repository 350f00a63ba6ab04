/* Rows of int8 brought to a larger exponent. */
#ifndef TT_ALIGN_H
#define TT_ALIGN_H

#include "vectors.h"

#define ALIGN_NARROW 14 /* largest shift for which x + noise fits int16 */

/* out[i] = tt_stochastic_shift(x[i], shift, key, first + i), shift >= 0. out may be x. */
static inline void align_row(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                             uint32_t first) {
    int32_t i = 0;
    if ((first & 1u) != 0 && n > 0) {
        out[0] = tt_stochastic_shift(x[0], shift, key, first);
        i = 1;
    }
    if (shift > 0 && shift <= ALIGN_NARROW) {
        const int32_t of_noise = shift - 16, up = -shift;
        uint32x4_t number = numbers_from(key, first + (uint32_t)i);
        for (; i + 8 <= n; i += 8) {
            const uint16x8_t noise = vshlq_r_u16(vreinterpretq_u16_u32(hashes(number)), of_noise);
            number = vaddq_n_u32(number, 4u * TT_GOLDEN);
            const int16x8_t wide = vaddq_s16(vldrbq_s16(x + i), vreinterpretq_s16_u16(noise));
            vstrbq_s16(out + i, vshlq_r_s16(wide, up));
        }
    }
    for (; i < n; i++) {
        out[i] = tt_stochastic_shift(x[i], shift, key, first + (uint32_t)i);
    }
}

#endif
