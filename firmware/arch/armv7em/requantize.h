/* A linear layer, and its outputs from their sums. */
#ifndef TT_REQUANTIZE_H
#define TT_REQUANTIZE_H

#include "../../kernels/products.h"
#include "dsp.h"
#include "tinytrain/tt_linear.h"

typedef struct {
    const int8_t *x, *w, *wt;
    const int16_t *rows;
    const int32_t *b, *bt, *mult, *shift;
    int32_t C, O, per_channel;
    int8_t *y8; /* or NULL */
    int16_t *y16;
    int32_t limit;
} layer;

static inline const int8_t *row_of(const layer *l, int32_t o) {
    return weight_row(l->w, l->wt, l->rows, o, l->C);
}

static inline void put(const layer *l, int32_t t, int32_t o, int32_t sum) {
    const int32_t q = l->per_channel ? o : 0;
    const int32_t v =
        tt_requantize(sum + bias_of(l->b, l->bt, l->rows, o), l->mult[q], l->shift[q], l->limit);
    if (l->y8 != NULL) {
        l->y8[t * l->O + o] = (int8_t)v;
    } else {
        l->y16[t * l->O + o] = (int16_t)v;
    }
}

/* tt_requantize to +-127; shift is less by 32, half = 2^(shift-1) - 2^shift: 1 is added at the end,
 * where it saturates. */
static inline int8_t code_of_sum(int32_t acc, int32_t mult, int32_t shift, int32_t half) {
    int32_t r = dsp_multiply_high(acc, mult, half) >> shift;
    __asm__("ssat %0, #8, %0\n"
            "qadd8 %0, %0, %1"
            : "+r"(r)
            : "r"(1));
    return (int8_t)r;
}

/* To +-32767; half = 2^(shift-1). */
static inline int16_t wide_of_sum(int32_t acc, int32_t mult, int32_t shift, int32_t half) {
    return (int16_t)tt_clamp(dsp_multiply_high(acc, mult, half) >> shift, 32767);
}

/* y[t, o .. o + n - 1] from their sums. */
__attribute__((noinline, unused)) static void put_row(const layer *l, const int32_t *sums,
                                                      int32_t t, int32_t o, int32_t n) {
    const int32_t mult = l->mult[0], shift = l->shift[0] - 32;
    if (l->per_channel || (l->rows != NULL && l->bt != NULL) || shift <= 0) {
        for (int32_t i = 0; i < n; i++) {
            put(l, t, o + i, sums[i]);
        }
        return;
    }
    const int32_t *b = l->b + o;
    const int32_t *const end = sums + n;
    if (l->y8 != NULL) {
        const int32_t half = (1 << shift >> 1) - (1 << shift);
        for (int8_t *y = l->y8 + t * l->O + o; sums != end;) {
            *y++ = code_of_sum(*sums++ + *b++, mult, shift, half);
        }
    } else {
        const int32_t half = 1 << shift >> 1;
        for (int16_t *y = l->y16 + t * l->O + o; sums != end;) {
            *y++ = wide_of_sum(*sums++ + *b++, mult, shift, half);
        }
    }
}

/* y[t .. t + n - 1, o] from their sums, which are worth 2^k. */
__attribute__((noinline, unused)) static void
put_column(const layer *l, const int32_t *sums, int32_t t, int32_t n, int32_t o, int32_t k) {
    const int32_t O = l->O, q = l->per_channel ? o : 0, mult = l->mult[q];
    const int32_t bias = bias_of(l->b, l->bt, l->rows, o), shift = l->shift[q] - 32;
    if (shift <= 0) {
        for (int32_t r = 0; r < n; r++) {
            put(l, t + r, o, sums[r] >> k);
        }
    } else if (l->y8 != NULL) {
        const int32_t half = (1 << shift >> 1) - (1 << shift);
        int8_t *y = l->y8 + t * O + o;
        for (int32_t r = 0; r < n; r++, y += O) {
            *y = code_of_sum((sums[r] >> k) + bias, mult, shift, half);
        }
    } else {
        const int32_t half = 1 << shift >> 1;
        int16_t *y = l->y16 + t * O + o;
        for (int32_t r = 0; r < n; r++, y += O) {
            *y = wide_of_sum((sums[r] >> k) + bias, mult, shift, half);
        }
    }
}

#endif
