#include <arm_mve.h>

#include "tinytrain/tt_gradient.h"

/* Bits of 16 elements, as a predicate has them, where |y| = 127. */
static inline uint32_t saturated(int8x16_t y) {
    return vcmpeqq_s8(vabsq_s8(y), vdupq_n_s8(127));
}

void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, y += C) {
        int32_t i = 0;
        for (; i + 16 <= C; i += 16, bits += 2) {
            const uint32_t found = saturated(vldrbq_s8(y + i));
            bits[0] = (uint8_t)found;
            bits[1] = (uint8_t)(found >> 8);
        }
        if (i < C) {
            const mve_pred16_t rest = vctp8q((uint32_t)(C - i));
            uint32_t found = saturated(vldrbq_z_s8(y + i, rest));
            for (; i < C; i += 8, found >>= 8) {
                *bits++ = (uint8_t)found;
            }
        }
    }
}

void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t T, int32_t C) {
    const int8x16_t none = vdupq_n_s8(0);
    for (int32_t t = 0; t < T; t++, out += C, g += C) {
        for (int32_t i = 0; i < C; i += 16) {
            const mve_pred16_t here = vctp8q((uint32_t)(C - i));
            uint32_t mask = *bits++;
            if (C - i > 8) {
                mask |= (uint32_t)*bits++ << 8;
            }
            const int8x16_t v = vldrbq_z_s8(g + i, here);
            vstrbq_p_s8(out + i, vpselq_s8(none, v, (mve_pred16_t)mask), here);
        }
    }
}
