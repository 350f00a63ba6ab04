/* Products of int8 matrices a block at a time: acc[r,n] += sum_k left[r,k] * right[k,n].
 *
 * Both blocks lie in memory four k together. The left one is uint8: signed bytes are lifted by 128,
 * and what that adds is taken off again by the sums of the right block's columns. All sums are mod
 * 2^32, so that the result is exact where it fits in int32. */
#ifndef TT_PRODUCT_H
#define TT_PRODUCT_H

#include "chunks.h"
#include "lanes.h"
#include "sizes.h"

#define TT_BLOCK_COLUMNS (2 * TT_LANES)

/* The four bytes of row r from 4 q on are quads[..][r * row + q * step], in parts as tt_dot has them. */
typedef struct {
    uint32_t quads[TT_PARTS][TT_BLOCK_ROWS * TT_BLOCK_DEPTH / 4];
    int32_t row, step, lift;
} tt_left;

typedef struct {
    tt_ulanes quads[TT_BLOCK_DEPTH / 4][2];
    tt_ulanes lifted[2]; /* 128 times the sums of the columns */
} tt_right;

/* left[r,k] = a[r * stride + k]. lift: 128 for int8, 0 for uint8. */
void tt_left_rows(tt_left *left, const void *a, int32_t stride, int32_t rows, int32_t depth,
                  int32_t lift);

/* left[r,k] = a[k * stride + r]. */
void tt_left_columns(tt_left *left, const void *a, int32_t stride, int32_t rows, int32_t depth,
                     int32_t lift);

/* right[k,n] = b[n][k] */
void tt_right_rows(tt_right *right, const int8_t *const *b, int32_t columns, int32_t depth);

/* right[k,n] = b[k][n] */
void tt_right_columns(tt_right *right, const int8_t *const *b, int32_t columns, int32_t depth);

/* acc[r * stride + n] += sum_k left[r,k] * right[k,n] */
void tt_product(int32_t *acc, int32_t stride, const tt_left *left, const tt_right *right,
                int32_t rows, int32_t columns, int32_t depth);

/* rows[i] = first + i * stride. */
static inline void tt_row_list(const int8_t **rows, const int8_t *first, int32_t stride,
                               int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        rows[i] = first + i * stride;
    }
}

#endif
