#include "sum_rows.h"

void tt_make_sum(int32_t *restrict acc, const void *row, int32_t from, int32_t n) {
    const sum_row *r = (const sum_row *)row;
    const int8_t *a = r->first + from, *b = r->second + from;
    const int32_t p = r->factor_1, q = r->factor_2, down = r->down;
    TT_UNROLL
    for (int32_t i = 0; i < n; i++) {
        acc[i] = a[i] * p + ((b[i] * q) >> down);
    }
}
