/* Two rows of int8. */
#ifndef TT_ROW_PRODUCT_H
#define TT_ROW_PRODUCT_H

#include <stdint.h>

typedef struct {
    int32_t sum;     /* of a */
    int32_t product; /* of a * b */
} row_product;

row_product tt_row_product(const int8_t *a, const int8_t *b, int32_t n);

#endif
