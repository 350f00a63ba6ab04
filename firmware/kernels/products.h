/* What products with a weight share: its rows, and four dot products at once. */
#ifndef TT_PRODUCTS_H
#define TT_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

#include "tinytrain/tt_uses.h"

/* Whether all rows lie together: none is trained, or all are. */
static inline int is_whole(const void *trained, const int16_t *rows) {
    return !TT_USES_ROWS || rows == NULL || trained == NULL;
}

/* Whether channel o is trained. */
static inline int trains(const int16_t *rows, int32_t o) {
    return !TT_USES_ROWS || rows == NULL || rows[o] >= 0;
}

/* Row o of a weight that may be split between flash and SRAM. */
static inline const int8_t *weight_row(const int8_t *w, const int8_t *wt, const int16_t *rows,
                                       int32_t o, int32_t C) {
    if (is_whole(wt, rows)) {
        return w + o * C;
    }
    return rows[o] >= 0 ? wt + rows[o] * C : w + ~rows[o] * C;
}

static inline int32_t bias_of(const int32_t *b, const int32_t *bt, const int16_t *rows, int32_t o) {
    if (is_whole(bt, rows)) {
        return b[o];
    }
    return rows[o] >= 0 ? bt[rows[o]] : b[~rows[o]];
}

/* A sum of products and its bias. What the compiler and the updates make stays in int32; a bias that was
 * written from outside may be any number, and the sum is then modulo 2^32. */
static inline int32_t with_bias(int32_t acc, int32_t bias) {
    return (int32_t)((uint32_t)acc + (uint32_t)bias);
}

/* Two input rows by two weight rows: four products a pair of loads. */
static inline void dot_2x2(int32_t acc[4], const int8_t *restrict x0, const int8_t *restrict x1,
                           const int8_t *restrict w0, const int8_t *restrict w1, int32_t C) {
    int32_t a00 = 0, a01 = 0, a10 = 0, a11 = 0;
    for (int32_t i = 0; i < C; i++) {
        const int32_t p = x0[i], q = x1[i], u = w0[i], v = w1[i];
        a00 += p * u;
        a01 += p * v;
        a10 += q * u;
        a11 += q * v;
    }
    acc[0] = a00;
    acc[1] = a01;
    acc[2] = a10;
    acc[3] = a11;
}

/* acc[i] += sum_t g[t,o] * x[t,i], from the left: each product is one multiply-accumulate. */
static inline void add_gradient_row(int32_t *restrict acc, const int8_t *restrict g,
                                    const int8_t *restrict x, int32_t T, int32_t C, int32_t O,
                                    int32_t o) {
    int32_t t = 0;
    for (; t + 1 < T; t += 2) {
        const int32_t u = g[t * O + o], v = g[(t + 1) * O + o];
        const int8_t *restrict x0 = x + t * C;
        const int8_t *restrict x1 = x0 + C;
        for (int32_t i = 0; i < C; i++) {
            acc[i] = acc[i] + u * x0[i] + v * x1[i];
        }
    }
    if (t < T) {
        const int32_t u = g[t * O + o];
        for (int32_t i = 0; i < C; i++) {
            acc[i] += u * x[t * C + i];
        }
    }
}

#endif
