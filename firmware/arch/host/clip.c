#include "tinytrain/tt_gradient.h"

#include "chunks.h"

#define EACH 0x0101010101010101u /* a one in each byte */
#define GATHER \
    0x0102040810204080u /* times eight bytes of 0 or 1: theirs are the bits of the last */

/* Eight bytes as if the first one were the lowest, or back. */
static inline uint64_t in_order(uint64_t eight) {
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(eight) : eight;
}

/* The mask of n flags, one a byte, 0 or 1. */
static inline void pack(uint8_t *bits, const uint8_t *flags, int32_t n) {
    for (int32_t i = 0; i < n; i += 8) {
        uint64_t eight = 0;
        memcpy(&eight, flags + i, 8);
        bits[i >> 3] = (uint8_t)(in_order(eight) * GATHER >> 56);
    }
}

void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, y += C, bits += (C + 7) / 8) {
        for (int32_t at = 0; at < C; at += TT_CHUNK) {
            const int32_t n = tt_least(C - at, TT_CHUNK);
            uint8_t flags[TT_CHUNK + 8];
            for (int32_t i = 0; i < n; i++) {
                const int8_t v = y[at + i];
                flags[i] = (v == 127) | (v == -127);
            }
            memset(flags + n, 0, 8);
            pack(bits + (at >> 3), flags, n);
        }
    }
}

/* Eight bytes, 0xFF where the mask has a bit. */
static inline uint64_t spread(uint8_t bits) {
    const uint64_t one = (bits * EACH) & 0x8040201008040201u; /* bit i in byte i */
    return ((one + 0x7F * EACH) >> 7 & EACH) * 0xFF;
}

void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, out += C, g += C, bits += (C + 7) / 8) {
        int32_t i = 0;
        for (; i + 8 <= C; i += 8) {
            uint64_t eight;
            memcpy(&eight, g + i, 8);
            eight &= ~in_order(spread(bits[i >> 3]));
            memcpy(out + i, &eight, 8);
        }
        for (; i < C; i++) {
            out[i] = (bits[i >> 3] >> (i & 7)) & 1 ? 0 : g[i];
        }
    }
}
