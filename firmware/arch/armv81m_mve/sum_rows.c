#include <arm_mve.h>

#include "sum_rows.h"

void tt_make_sum(int32_t *restrict acc, const void *row, int32_t from, int32_t n) {
    const sum_row *r = (const sum_row *)row;
    const int8_t *a = r->first + from, *b = r->second + from;
    const int32_t p = r->factor_1, q = r->factor_2, down = r->down;
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const int32x4_t second = vshlq_r_s32(vmulq_n_s32(vldrbq_s32(b + i), q), -down);
        vstrwq_s32(acc + i, vmlaq_n_s32(second, vldrbq_s32(a + i), p));
    }
    for (; i < n; i++) {
        acc[i] = a[i] * p + ((b[i] * q) >> down);
    }
}
