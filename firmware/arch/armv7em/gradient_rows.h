/* Gradients of one or two rows by matrices of bytes. */
#ifndef TT_GRADIENT_ROWS_H
#define TT_GRADIENT_ROWS_H

#include <stdint.h>

/* acc0 += low * a + high * b and acc1 alike, where pair0 and pair1 are low and high of each, and a and b
 * rows of n bytes. */
void tt_add_rows(int32_t *acc0, int32_t *acc1, const int8_t *a, const int8_t *b, uint32_t pair0,
                 uint32_t pair1, int32_t n);

#endif
