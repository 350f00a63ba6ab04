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

/* g, or 0 where the lowest of the bits is set. */
static inline int8_t kept(int32_t g, uint32_t bits) {
    return (int8_t)(g & ((int32_t)(bits & 1u) - 1));
}

void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, out += C, g += C) {
        int32_t i = 0;
        for (; i + 7 < C; i += 8) {
            const uint32_t byte = *bits++;
            const int8_t *p = g + i;
            int8_t *q = out + i;
            q[0] = kept(p[0], byte);
            q[1] = kept(p[1], byte >> 1);
            q[2] = kept(p[2], byte >> 2);
            q[3] = kept(p[3], byte >> 3);
            q[4] = kept(p[4], byte >> 4);
            q[5] = kept(p[5], byte >> 5);
            q[6] = kept(p[6], byte >> 6);
            q[7] = kept(p[7], byte >> 7);
        }
        if (i < C) {
            uint32_t byte = *bits++;
            for (; i < C; i++, byte >>= 1) {
                out[i] = kept(g[i], byte);
            }
        }
    }
}
