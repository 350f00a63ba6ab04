/* What the loss of a row of logits and its gradient share. */
#ifndef TT_LOSS_ROWS_H
#define TT_LOSS_ROWS_H

#include "tinytrain/tt_math.h"
#include "tinytrain/tt_tables.h"

#define TT_ONE 32768 /* a probability of one */

/* 65535 exp(-d / 256), d >= 0. */
static inline uint32_t exp_of(int32_t d) {
    const int32_t i = d > 4095 ? 4095 : d;
    return ((uint32_t)tt_exp16[i >> 4] * tt_exp256[i & 15] + (1u << 14)) >> 15;
}

/* Largest of n logits. */
static inline int32_t largest(const int16_t *a, int32_t n) {
    int32_t top = a[0];
    TT_UNROLL
    for (int32_t j = 1; j < n; j++) {
        top = a[j] > top ? a[j] : top;
    }
    return top;
}

/* Sum of the exponentials of n logits below the largest. */
static inline uint32_t sum_of_exp(const int16_t *a, int32_t top, int32_t n) {
    uint32_t sum = 0;
    TT_UNROLL
    for (int32_t j = 0; j < n; j++) {
        sum += exp_of(top - a[j]);
    }
    return sum;
}

#endif
