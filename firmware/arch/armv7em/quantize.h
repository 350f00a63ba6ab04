/* Rows of accumulators -> int8 with stochastic rounding, four elements a turn: tt_quantize_row of
 * pairs of rows that lie as tile_s32 leaves them. */
#ifndef TT_QUANTIZE_H
#define TT_QUANTIZE_H

#include "tile.h"
#include "tinytrain/tt_math.h"

/* A number with as many bits as the largest |acc| of row r (0 or 1) of tiles, n columns. */
static inline uint32_t row_peak(const int32_t *acc, int32_t n) {
    uint32_t peak = 0;
    for (; n >= 2; n -= 2, acc += 4) {
        const int32_t a = acc[0], b = acc[1];
        peak |= (uint32_t)(a ^ (a >> 31)) + ((uint32_t)a >> 31);
        peak |= (uint32_t)(b ^ (b >> 31)) + ((uint32_t)b >> 31);
    }
    return n > 0 ? peak | (uint32_t)tt_abs(acc[0]) : peak;
}

/* acc * unit + 127 * 2^16 + a random number of 16 bits; the result's upper half is the rounded
 * value, + 127, where unit = 2^(16 - shift). */
static inline int32_t noisy_low(int32_t acc, int32_t unit, int32_t offset, uint32_t random) {
    int32_t r = acc * unit + offset;
    __asm__("uxtah %0, %0, %1" : "+r"(r) : "r"(random));
    return r;
}

static inline int32_t noisy_high(int32_t acc, int32_t unit, int32_t offset, uint32_t random) {
    int32_t r = acc * unit + offset;
    __asm__("add %0, %0, %1, lsr #16" : "+r"(r) : "r"(random));
    return r;
}

/* The upper halves of a and b, saturated to uint8. */
static inline uint32_t upper_codes(int32_t a, int32_t b) {
    uint32_t r;
    __asm__("pkhtb %0, %2, %1, asr #16\n"
            "usat16 %0, #8, %0"
            : "=&r"(r)
            : "r"(a), "r"(b));
    return r;
}

/* Unsigned bytes v + 127 as int8, v in +-127. */
static inline uint32_t centered(uint32_t bytes, uint32_t ones) {
    uint32_t r;
    __asm__("uqadd8 %0, %1, %2" : "=r"(r) : "r"(bytes), "r"(ones));
    return r ^ 0x80808080u;
}

/* One row of tiles, n columns; the same bits and draws as tt_quantize_row. */
static inline int16_t quantize_tiles(int8_t *out, const int32_t *acc, int32_t n, int32_t base,
                                     uint32_t key, uint32_t first) {
    const uint32_t peak = row_peak(acc, n);
    const int32_t shift = tt_gradient_shift((int32_t)peak);
    int32_t i = 0;
    if (shift <= 16 && (first & 1u) == 0) {
        const int32_t unit = 1 << (16 - shift), offset = 127 << 16;
        const uint32_t ones = 0x01010101u;
        uint32_t number = key + (first >> 1) * TT_GOLDEN;
        for (; i + 4 <= n; i += 4, acc += 8) {
            const uint32_t r = tt_mix(number), s = tt_mix(number + TT_GOLDEN);
            number += 2 * TT_GOLDEN;
            const uint32_t even =
                upper_codes(noisy_low(acc[0], unit, offset, r), noisy_low(acc[4], unit, offset, s));
            const uint32_t odd = upper_codes(noisy_high(acc[1], unit, offset, r),
                                             noisy_high(acc[5], unit, offset, s));
            const uint32_t word = centered(even | odd << 8, ones);
            memcpy(out + i, &word, 4);
        }
    }
    for (int32_t c = 0; i < n; i++, c++) {
        out[i] = tt_stochastic_shift(acc[c / 2 * 4 + (c & 1)], shift, key, first + (uint32_t)i);
    }
    return tt_row_exponent((int32_t)peak, base);
}

#endif
