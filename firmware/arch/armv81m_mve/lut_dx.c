#include "quantize.h"
#include "tinytrain/tt_elementwise.h"

/* g * slope[x + 128] of eight elements. */
static inline int16x8_t products(const int8_t *g, const int8_t *x, const int8_t *slope) {
    const uint16x8_t at = vreinterpretq_u16_s16(vaddq_n_s16(vldrbq_s16(x), 128));
    return vmulq_s16(vldrbq_s16(g), vldrbq_gather_offset_s16(slope, at));
}

/* floor((product + noise) >> shift), shift in [1, 7]: all of it fits int16. */
static inline int16x8_t rounded(int16x8_t product, uint32x4_t hash, int32_t shift) {
    const uint16x8_t noise = vshlq_r_u16(vreinterpretq_u16_u32(hash), shift - 16);
    const int16x8_t wide = vaddq_s16(product, vreinterpretq_s16_u16(noise));
    return clamped(vshlq_r_s16(wide, -shift), 127);
}

static int16_t row(int8_t *gx, const int8_t *g, const int8_t *x, const int8_t *slope, int32_t C,
                   int32_t base, uint32_t key, uint32_t first) {
    uint16_t widest = 0;
    int32_t i = 0;
    for (; i + 8 <= C; i += 8) {
        widest = vmaxavq_s16(widest, products(g + i, x + i, slope));
    }
    int32_t peak = widest;
    for (; i < C; i++) {
        const int32_t a = tt_abs(g[i] * slope[x[i] + 128]);
        peak = a > peak ? a : peak;
    }
    const int32_t shift = tt_gradient_shift(peak);
    i = 0;
    if (shift > 0 && (first & 1u) == 0) {
        uint32x4_t number = numbers_from(key, first);
        for (; i + 8 <= C; i += 8, number = vaddq_n_u32(number, 4u * TT_GOLDEN)) {
            const int16x8_t v = products(g + i, x + i, slope);
            vstrbq_s16(gx + i, rounded(v, hashes(number), shift));
        }
    }
    for (; i < C; i++) {
        gx[i] = tt_stochastic_shift(g[i] * slope[x[i] + 128], shift, key, first + (uint32_t)i);
    }
    return tt_row_exponent(peak, base);
}

void tt_lut_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                  const int8_t *x, const int8_t *slope, const tt_step *st, int32_t T, int32_t C,
                  int32_t exp_add, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        gx_exp[t] = row(gx + t * C, g + t * C, x + t * C, slope, C, g_exp[t] + exp_add, key,
                        (uint32_t)((st->row + t) * C));
    }
}
