/* Attention where there is no room for panels; included before the plain kernels. */
#ifndef TT_ATTENTION_SMALL_H
#define TT_ATTENTION_SMALL_H

#include "../../kernels/attention_rows.h"
#include "row_product.h"

#define TT_ARCH_ATTENTION
#define TT_SMALL_LOOPS 1

/* out[j] = x . rows[j], n rows of `width`, `stride` apart; gives the largest. */
static inline int32_t row_dots(int32_t *out, const int8_t *x, const int8_t *rows, int32_t n,
                               int32_t width, int32_t stride) {
    int32_t top = INT32_MIN;
    for (int32_t j = 0; j < n; j++) {
        out[j] = tt_row_product(x, rows + j * stride, width).product;
        top = out[j] > top ? out[j] : top;
    }
    return top;
}

#endif
