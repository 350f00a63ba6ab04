#include "tinytrain/tt_gradient.h"

/* 1 where |y| = 127, else 0. */
static inline uint32_t saturated(int32_t y) {
    return (uint32_t)(y * y + 255) >> 14;
}

void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, y += C) {
        int32_t i = 0;
        for (; i + 7 < C; i += 8) {
            const int8_t *p = y + i;
            *bits++ = (uint8_t)(saturated(p[0]) | saturated(p[1]) << 1 | saturated(p[2]) << 2 |
                                saturated(p[3]) << 3 | saturated(p[4]) << 4 | saturated(p[5]) << 5 |
                                saturated(p[6]) << 6 | saturated(p[7]) << 7);
        }
        if (i < C) {
            uint32_t byte = 0;
            for (int32_t b = 0; i + b < C; b++) {
                byte |= saturated(y[i + b]) << b;
            }
            *bits++ = (uint8_t)byte;
        }
    }
}

void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, out += C, g += C) {
        for (int32_t i = 0; i < C; i += 8) {
            const int32_t end = C - i < 8 ? C : i + 8;
            uint32_t byte = *bits++;
            for (int32_t j = i; j < end; j++, byte >>= 1) {
                out[j] = (int8_t)(g[j] & ((int32_t)(byte & 1u) - 1));
            }
        }
    }
}
