/* The sum of two gradients: a row of it. */
#ifndef TT_SUM_ROWS_H
#define TT_SUM_ROWS_H

#include "tinytrain/tt_math.h"

/* A sum of two: first * factor_1 + (second * factor_2 >> down). */
typedef struct {
    const int8_t *first, *second;
    int32_t factor_1, factor_2, down;
} sum_row;

/* The one of the larger exponent first, the other brought down; over 30 bits leave nothing of it. */
static inline sum_row sum_row_of(const int8_t *a, const int8_t *b, int32_t rho, int32_t down_a) {
    const sum_row r = down_a <= 0 ? (sum_row){a, b, 1 << 14, rho, -down_a}
                                  : (sum_row){b, a, rho, 1 << 14, down_a};
    return r.down > 30 ? (sum_row){r.first, r.second, r.factor_1, 0, 0} : r;
}

/* A tt_row_maker: of the sum_row at `row`. */
void tt_make_sum(int32_t *acc, const void *row, int32_t from, int32_t n);

#endif
