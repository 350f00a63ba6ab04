#include "small.h"

#include "tinytrain/tt_math.h"

uint32_t tt_key(const tt_step *st, int32_t stream) {
    return tt_mix(tt_mix(st->seed + st->step * TT_GOLDEN) ^ ((uint32_t)stream * 0x85EBCA6Bu));
}

int8_t tt_stochastic_shift(int32_t acc, int32_t shift, uint32_t key, uint32_t i) {
    if (shift == 0) {
        return (int8_t)tt_clamp(acc, 127);
    }
    if (shift > 30) {
        return 0;
    }
    int32_t noise = tt_random16(key, i);
    noise = shift <= 16 ? noise >> (16 - shift) : noise << (shift - 16);
    return (int8_t)tt_clamp((acc + noise) >> shift, 127);
}

int32_t tt_requantized(int32_t acc, int32_t mult, int32_t shift, int32_t limit) {
    return tt_requantize(acc, mult, shift, limit);
}

/* Upper half of the 64-bit product. */
static inline uint32_t high(uint32_t a, uint32_t b) {
    return (uint32_t)(((uint64_t)a * b) >> 32);
}

/* The root of v = x * 2^twice in [2^62, 2^64). y: 1 / sqrt(v) in units of 2^-62, below 9 % off by a
 * line, 2^-24 after three steps of Newton's; the root from it is low, by few units after one more. */
uint32_t tt_isqrt64(uint64_t x) {
    if (x == 0) {
        return 0;
    }
    const int32_t twice = (64 - tt_bit_length64(x)) & ~1;
    const uint64_t v = x << twice;
    const uint32_t m = (uint32_t)(v >> 32);
    uint32_t y = 0x887AE148u - high(m, 0x4DEB851Fu);
    for (int32_t i = 0; i < 3; i++) {
        y = high(y, (0x30000000u - high(high(y, y), m)) << 2) << 1;
    }
    uint32_t root = (high(m, y) - 16u) << 2;
    root += high((uint32_t)((v - (uint64_t)root * root) >> 10), y) >> 21;
    while (v - (uint64_t)root * root > 2u * (uint64_t)root) {
        root++;
    }
    return root >> (twice / 2);
}

typedef union {
    float f;
    uint32_t u;
} tt_bits;

float tt_pow2f(int32_t exponent) {
    const int32_t e = exponent < -126 ? -126 : (exponent > 127 ? 127 : exponent);
    const tt_bits b = {.u = (uint32_t)(e + 127) << 23};
    return b.f;
}

float tt_scaled_float(uint64_t value, int32_t exponent) {
    int32_t drop = tt_bit_length64(value) - 24;
    drop = drop > 0 ? drop : 0;
    return (float)(int32_t)(value >> drop) * tt_pow2f(exponent + drop);
}

tt_multiplier tt_float_multiplier(float x) {
    tt_multiplier f = {0, 0};
    if (!(x > 0.0f)) {
        return f;
    }
    int32_t scale = 0;
    if (x < 1.17549435e-38f) { /* subnormal: normalize first, exactly */
        x *= 16777216.0f;
        scale = 24;
    }
    const tt_bits b = {.f = x};
    f.m = (int32_t)((b.u & 0x7FFFFFu) | 0x800000u);
    f.shift = 150 - (int32_t)(b.u >> 23) + scale;
    return f;
}

float tt_sqrtf(float x) {
    const tt_multiplier f = tt_float_multiplier(x);
    if (f.m == 0) {
        return 0.0f;
    }
    /* x = m * 2^-shift; make the exponent even and the root 25 bits long: 24 and one to round. */
    const int32_t odd = f.shift & 1;
    const uint64_t wide = (uint64_t)f.m << (26 - odd);
    const uint32_t root = tt_isqrt64(wide);
    /* A root of 24 or 25 significant bits: m < 2^24 gives wide in [2^48, 2^50), root in [2^24, 2^25).
     * A square root is never halfway between two floats, so rounding the last bit up is exact. */
    return (float)(int32_t)((root + 1u) >> 1) * tt_pow2f((2 - (f.shift + 26 - odd)) / 2);
}
