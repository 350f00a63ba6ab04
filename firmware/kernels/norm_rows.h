/* LayerNorm: what a row needs once, in every variant of the kernels. Products with a row's factor
 * take the upper half of 64 bits: what they are to be shifted by is brought to 32 or 48 first. */
#ifndef TT_NORM_ROWS_H
#define TT_NORM_ROWS_H

#include "tinytrain/tt_math.h"

/* A digit of 16 bits of (n * 2^16 + next) / d, d >= 2^31, n < d; n becomes the rest. */
static inline uint32_t norm_digit(uint32_t *n, uint32_t next, uint32_t d) {
    const uint32_t top = d >> 16, low = d & 0xFFFFu;
    uint32_t digit = *n / top, rest = *n - digit * top;
    while (digit > 0xFFFFu || digit * low > (rest << 16 | next)) {
        digit--;
        rest += top;
        if (rest > 0xFFFFu) {
            break;
        }
    }
    *n = (*n << 16 | next) - digit * d;
    return digit;
}

/* min(a / b, 2^31 - 1), b > 0 (Knuth, The Art of Computer Programming 4.3.1, algorithm D). */
static inline int32_t norm_quotient(uint64_t a, uint32_t b) {
    if (a >> 31 >= b) {
        return INT32_MAX;
    }
    const int32_t left = 32 - tt_bit_length(b);
    const uint64_t wide = a << left;
    uint32_t n = (uint32_t)(wide >> 32);
    const uint32_t high = norm_digit(&n, (uint32_t)wide >> 16, b << left);
    return (int32_t)(high << 16 | norm_digit(&n, (uint32_t)wide & 0xFFFFu, b << left));
}

/* r of tt_layernorm_s8. */
static inline int32_t norm_factor(int32_t sum, int32_t squares, int32_t C, int32_t eps, int32_t k,
                                  int32_t k_shift) {
    const int64_t variance = (int64_t)C * squares - (int64_t)sum * sum + eps;
    return norm_quotient((uint64_t)k << k_shift, tt_isqrt64((uint64_t)variance << 24));
}

/* (C*x - sum) * r * 2^-shift = (x * each - less) * factor * 2^-48. */
typedef struct {
    int32_t each;
    int32_t less;
    int32_t factor;
} norm_scale;

/* Whether the row can be written so. */
static inline int norm_scale_of(norm_scale *s, int32_t sum, int32_t r, int32_t C, int32_t shift) {
    const int32_t left = 48 - shift, room = 31 - tt_bit_length((uint32_t)r);
    const int32_t of_r = left < room ? left : room, of_x = left - of_r;
    const int32_t largest = 127 * C + tt_abs(sum);
    if (left < 0 || tt_bit_length((uint32_t)largest) + of_x > 31) {
        return 0;
    }
    s->each = C << of_x;
    s->less = sum * (1 << of_x);
    s->factor = (int32_t)((uint32_t)r << of_r);
    return 1;
}

/* Elements i .. C - 1 of any row. */
static inline void norm_row_wide(int8_t *y, const int8_t *x, int32_t i, int32_t sum, int32_t r,
                                 int32_t C, int32_t shift) {
    for (; i < C; i++) {
        y[i] = (int8_t)tt_requantized(C * x[i] - sum, r, shift, 127);
    }
}

/* Values of a row of the gradient: g * each - less - y * u. */
typedef struct {
    int32_t each;
    int32_t less;
    int32_t u;
} norm_values;

static inline norm_values norm_values_of(int32_t sum, int32_t product, int32_t C, int32_t mult,
                                         int32_t shift, int32_t fraction) {
    const norm_values v = {
        .each = C * (1 << fraction),
        .less = sum * (1 << fraction),
        .u = tt_requantized(product, mult, shift, INT32_MAX),
    };
    return v;
}

/* A row of zeros; gives its exponent. */
static inline int16_t norm_zero_row(int8_t *gx, int32_t C) {
    for (int32_t i = 0; i < C; i++) {
        gx[i] = 0;
    }
    return TT_ZERO_EXPONENT;
}

/* (value << left) * factor >> 32 = value * r >> shift - rest, to be rounded by `rest`, 16 or a little
 * more, to int8. */
typedef struct {
    int32_t left;
    int32_t factor;
    int32_t shift; /* smallest that brings value * r into int8 */
    int32_t rest;
} norm_grad_scale;

/* peak: the largest |value|, < 2^30; neither it nor r is 0. value and r have at most shift + 8 bits
 * together, so the 48 - shift that they are to be shifted by find room in two registers. */
static inline norm_grad_scale norm_grad_scale_of(int32_t peak, uint32_t r) {
    const int32_t bits = tt_bit_length64((uint64_t)(uint32_t)peak * r);
    const int32_t shift = bits > 7 ? bits - 7 : 0, rest = shift > 48 ? shift - 32 : 16;
    const int32_t left = 32 + rest - shift, room = 31 - tt_bit_length(r);
    const int32_t of_r = left < room ? left : room;
    const norm_grad_scale s = {left - of_r, (int32_t)(r << of_r), shift, rest};
    return s;
}

#endif
