/* Integer arithmetic that every kernel shares. tinytrain/ir/numerics.py is the same in numpy; both give
 * the same bits for every input in the stated range. No libm, no library calls. */
#ifndef TT_MATH_H
#define TT_MATH_H

#include <float.h>
#include <stdint.h>

#ifdef __cplusplus
#define TT_ALIGNED(bytes) alignas(bytes)
#define TT_STATIC_ASSERT static_assert
#else
#define TT_ALIGNED(bytes) _Alignas(bytes)
#define TT_STATIC_ASSERT _Static_assert
#endif

/* x87, for one, computes in 80 bits, which rounds otherwise. */
TT_STATIC_ASSERT(FLT_EVAL_METHOD == 0, "float arithmetic must be that of float: with gcc on x86, "
                                       "-msse2 -mfpmath=sse");

/* The running step: seed of the run, steps done so far, learning rate and second-moment decay; the
 * row of the whole tensors at which a kernel's arguments begin (0 outside of a loop over rows), so
 * that every element draws the same random number in any tiling. */
typedef struct {
    uint32_t seed;
    uint32_t step;
    float learning_rate;
    float beta;
    int32_t row;
} tt_step;

/* Before a loop: four turns at once. GCC does it at -O3 only. */
#if defined(__GNUC__) && !defined(__clang__)
#define TT_UNROLL _Pragma("GCC unroll 4")
#else
#define TT_UNROLL
#endif

#define TT_GOLDEN 0x9E3779B9u

/* Exponent of a row of gradients that are all zero: below that of any other. */
#define TT_ZERO_EXPONENT (-16384)

static inline int32_t tt_clamp(int32_t x, int32_t limit) {
    return x > limit ? limit : (x < -limit ? -limit : x);
}

static inline int32_t tt_abs(int32_t x) {
    return x < 0 ? -x : x;
}

/* round-half-up(acc * mult * 2^-shift), saturated to +-limit. mult in [0, 2^31), shift in [1, 62]. */
static inline int32_t tt_requantize(int32_t acc, int32_t mult, int32_t shift, int32_t limit) {
    const int64_t y = ((int64_t)acc * mult + ((int64_t)1 << (shift - 1))) >> shift;
    return y > limit ? limit : (y < -limit ? -limit : (int32_t)y);
}

/* The same, called: 64 bits take some code. */
int32_t tt_requantized(int32_t acc, int32_t mult, int32_t shift, int32_t limit);

/* Upper half of the 64-bit product. */
static inline int32_t tt_multiply_high(int32_t a, int32_t b) {
    return (int32_t)(((int64_t)a * b) >> 32);
}

/* A 32-bit finalizer: lowbias32 of Chris Wellons' hash-prospector. */
static inline uint32_t tt_mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    x ^= x >> 16;
    return x;
}

/* Key of one node's random numbers in one step. */
uint32_t tt_key(const tt_step *st, int32_t stream);

/* Random 16-bit number i of a stream: depends on (key, i) only; one hash serves two neighbours. */
static inline int32_t tt_random16(uint32_t key, uint32_t i) {
    const uint32_t r = tt_mix(key + (i >> 1) * TT_GOLDEN);
    return (int32_t)((i & 1u) ? r >> 16 : r & 0xFFFFu);
}

static inline int32_t tt_bit_length(uint32_t x) {
    return x == 0 ? 0 : 32 - __builtin_clz(x);
}

static inline int32_t tt_bit_length64(uint64_t x) {
    const uint32_t high = (uint32_t)(x >> 32);
    return high ? 32 + tt_bit_length(high) : tt_bit_length((uint32_t)x);
}

/* Smallest shift that brings |acc| <= peak into int8. */
static inline int32_t tt_gradient_shift(int32_t peak) {
    const int32_t bits = tt_bit_length((uint32_t)peak) - 7;
    return bits > 0 ? bits : 0;
}

/* clamp(floor(acc * 2^-shift + u)) to int8, u from number i of the stream. |acc| < 2^30;
 * shift 0 is exact, over 30 gives 0. */
int8_t tt_stochastic_shift(int32_t acc, int32_t shift, uint32_t key, uint32_t i);

/* Exponent of a row whose largest |acc| is peak and whose accumulators are worth 2^base. */
static inline int16_t tt_row_exponent(int32_t peak, int32_t base) {
    return (int16_t)(peak == 0 ? TT_ZERO_EXPONENT : base + tt_gradient_shift(peak));
}

/* One row of n accumulators worth 2^base -> int8 by the smallest shift that fits; returns the row's
 * exponent. Element i draws number first + i of the stream. |acc| < 2^30. out may share its first
 * bytes with acc. */
int16_t tt_quantize_row(int8_t *out, const int32_t *acc, int32_t n, int32_t base, uint32_t key,
                        uint32_t first);

/* floor(sqrt(x)). */
uint32_t tt_isqrt64(uint64_t x);

/* Correctly rounded float32 square root, x >= 0 and normal; 0 gives 0. */
float tt_sqrtf(float x);

/* 2^exponent, exponent clamped to [-126, 127]. */
float tt_pow2f(int32_t exponent);

/* value * 2^exponent from the top 24 bits of value. */
float tt_scaled_float(uint64_t value, int32_t exponent);

/* A float x >= 0 as x = m * 2^-shift, m < 2^24, exact. */
typedef struct {
    int32_t m;
    int32_t shift;
} tt_multiplier;

tt_multiplier tt_float_multiplier(float x);

/* clamp(round-half-up(acc * m * 2^-shift), +-limit); |acc| < 2^31, limit < 2^31. */
static inline int32_t tt_apply_multiplier(int32_t acc, tt_multiplier f, int32_t limit) {
    int64_t wide = (int64_t)acc * f.m;
    if (f.shift <= 0) {
        wide *= (int64_t)1 << (f.shift < -7 ? 7 : -f.shift);
    } else if (f.shift > 62) {
        wide = 0;
    } else {
        wide = (wide + ((int64_t)1 << (f.shift - 1))) >> f.shift;
    }
    return wide > limit ? limit : (wide < -limit ? -limit : (int32_t)wide);
}

#endif
