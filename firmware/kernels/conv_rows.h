/* Pooling of the rows of a convolution. */
#ifndef TT_CONV_ROWS_H
#define TT_CONV_ROWS_H

#include <stddef.h>

#include "conv_window.h"
#include "tinytrain/tt_conv.h"

/* One row of the convolution joins the pooled row whose window it is row i of. */
static inline void pool_row(int8_t *y, uint8_t *winners, const int8_t *row, const window *v,
                            int32_t O, int32_t columns, int32_t i, int first) {
    for (int32_t q = 0; q < columns; q++, y += O) {
        const span along = span_of(q, v->stride.w, v->padding.w, v->size.w, v->image.w);
        for (int32_t j = along.first; j < along.end; j++) {
            const int8_t *in = row + (along.at + j) * O;
            const int fresh = first && j == along.first;
            const uint8_t number = (uint8_t)(i * v->size.w + j);
            for (int32_t o = 0; o < O; o++) {
                if (fresh || in[o] > y[o]) {
                    y[o] = in[o];
                    if (winners != NULL) {
                        winners[q * O + o] = number;
                    }
                }
            }
        }
    }
}

/* Row r of the convolution joins the pooled rows that it is in a window of. */
static inline void join_row(int8_t *y, uint8_t *winners, const int8_t *row, const window *pool,
                            pair pooled, int32_t O, int32_t r) {
    for (int32_t p = 0; p < pooled.h; p++) {
        const span down = span_of(p, pool->stride.h, pool->padding.h, pool->size.h, pool->image.h);
        const int32_t i = r - down.at, at = p * pooled.w * O;
        if (i >= down.first && i < down.end) {
            pool_row(y + at, winners != NULL ? winners + at : NULL, row, pool, O, pooled.w, i,
                     i == down.first);
        }
    }
}

/* No gradient passes where the result saturated or the ReLU cut. */
static inline void drop_winners(uint8_t *winners, const int8_t *y, int32_t n, int32_t relu) {
    for (int32_t i = 0; winners != NULL && i < n; i++) {
        if (tt_abs(y[i]) == 127 || (relu && y[i] == 0)) {
            winners[i] = TT_NOBODY;
        }
    }
}

#endif
