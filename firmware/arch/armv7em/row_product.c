#pragma GCC optimize("Os")

#include "row_product.h"

#include "dsp.h"

row_product tt_row_product(const int8_t *a, const int8_t *b, int32_t n) {
    row_product r = {0, 0};
    int32_t i = 0;
    for (; i + 3 < n; i += 4) {
        const uint32_t x = dsp_load(a + i), y = dsp_load(b + i);
        const uint32_t even = dsp_even(x), odd = dsp_odd(x);
        r.sum = dsp_dot(odd, 0x00010001u, dsp_dot(even, 0x00010001u, r.sum));
        r.product = dsp_dot(odd, dsp_odd(y), dsp_dot(even, dsp_even(y), r.product));
    }
    for (; i < n; i++) {
        r.sum += a[i];
        r.product += a[i] * b[i];
    }
    return r;
}
