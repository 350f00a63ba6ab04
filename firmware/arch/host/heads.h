/* Products of one head of attention, blocks of rows at a time. tinytrain/tt_attention.h has the
 * meaning of the letters. */
#ifndef TT_HEADS_H
#define TT_HEADS_H

#include "attention_rows.h"
#include "product.h"

/* Where whole rows of accumulators go, and how many at a time. */
typedef struct {
    int32_t *acc;
    int32_t rows;
} tt_rows_held;

/* Rows of n accumulators: in `held` [TT_HELD], or one in `scratch` where they are too long. */
static inline tt_rows_held tt_hold(int32_t *held, int32_t *scratch, int32_t n) {
    const tt_rows_held some = {held, tt_least(TT_BLOCK_ROWS, TT_HELD / n)};
    const tt_rows_held one = {scratch, 1};
    return n <= TT_HELD ? some : one;
}

/* acc[r * T + j] = sum_c a[r,c] * b[j,c] for `count` rows of the head's a and its first n of b. */
void tt_head_dots(int32_t *acc, const int8_t *a, const int8_t *b, const tt_head *head,
                  int32_t count, int32_t n);

/* acc[r * columns + c] = sum_j a[r * stride + j] * b[j * C + c], j < n. lift: 128 for int8 a, 0 for
 * uint8. */
void tt_head_sums(int32_t *acc, const void *a, int32_t lift, int32_t stride, const int8_t *b,
                  int32_t C, int32_t count, int32_t columns, int32_t n);

#endif
