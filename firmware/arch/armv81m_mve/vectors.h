/* What loops over elements share: the random numbers of eight neighbours, and their sums, which lie
 * in a line or in a row of tiles (dot.h). Eight elements are two vectors, the even and the odd ones. */
#ifndef TT_VECTORS_H
#define TT_VECTORS_H

#include <arm_mve.h>

#include "tinytrain/tt_math.h"

/* tt_mix of `number` + 0, 1, 2, 3 times TT_GOLDEN. */
static inline uint32x4_t hashes(uint32x4_t number) {
    uint32x4_t x = veorq_u32(number, vshrq_n_u32(number, 16));
    x = vmulq_n_u32(x, 0x7FEB352Du);
    x = veorq_u32(x, vshrq_n_u32(x, 15));
    x = vmulq_n_u32(x, 0x846CA68Bu);
    return veorq_u32(x, vshrq_n_u32(x, 16));
}

/* Where the numbers of elements first .. first + 7 begin; first even. The next eight: + 4 * TT_GOLDEN.
 */
static inline uint32x4_t numbers_from(uint32_t key, uint32_t first) {
    const uint32x4_t lanes = vmulq_n_u32(vidupq_n_u32(0, 1), TT_GOLDEN);
    return vaddq_n_u32(lanes, key + (first >> 1) * TT_GOLDEN);
}

static inline int32x4_t even_noise(uint32x4_t hash) {
    return vreinterpretq_s32_u32(vmovlbq_u16(vreinterpretq_u16_u32(hash)));
}

static inline int32x4_t odd_noise(uint32x4_t hash) {
    return vreinterpretq_s32_u32(vmovltq_u16(vreinterpretq_u16_u32(hash)));
}

/* How far pairs of elements are apart, in pairs. */
enum { LINE = 1, TILES = 2 };

/* Where element i is. */
static inline int32_t sum_at(int32_t i, int32_t apart) {
    return (i >> 1) * 2 * apart + (i & 1);
}

/* The even elements of eight; the odd ones are one word behind. */
static inline int32x4_t sums(const int32_t *acc, int32_t apart) {
    const uint32x4_t at = apart == TILES ? vidupq_n_u32(0, 4) : vidupq_n_u32(0, 2);
    return vldrwq_gather_shifted_offset_s32(acc, at);
}

/* Eight int8 as the even or the odd ones of int32. */
static inline int32x4_t even_of(int16x8_t v) {
    return vmovlbq_s16(v);
}

static inline int32x4_t odd_of(int16x8_t v) {
    return vmovltq_s16(v);
}

/* Eight elements that fit int16, in their order. */
static inline int16x8_t joined(int32x4_t even, int32x4_t odd) {
    return vmovntq_s32(vmovnbq_s32(vdupq_n_s16(0), even), odd);
}

static inline int16x8_t clamped(int16x8_t v, int16_t limit) {
    return vmaxq_s16(vminq_s16(v, vdupq_n_s16(limit)), vdupq_n_s16((int16_t)-limit));
}

#endif
