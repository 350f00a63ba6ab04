/* Gradients of one or two rows by matrices of bytes. */
#ifndef TT_GRADIENT_ROWS_H
#define TT_GRADIENT_ROWS_H

#include <stdint.h>

/* sums[0 .. 3] = one row, a panel of pairs (0,2), (1,3), by the
 * columns of 4 * turns rows of bytes, `stride` apart. */
void tt_columns_by_row(int32_t *sums, const uint32_t *x, const int8_t *w, int32_t stride,
                       int32_t turns);

/* acc0 += low * a + high * b and acc1 alike, where pair0 and pair1 are low and high of each, and a and b
 * rows of n bytes. */
void tt_add_rows(int32_t *acc0, int32_t *acc1, const int8_t *a, const int8_t *b, uint32_t pair0,
                 uint32_t pair1, int32_t n);

#endif
