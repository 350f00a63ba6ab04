#pragma GCC optimize("Os") /* the loops are assembly */

#include "../../kernels/step.h"
#include "dsp.h"

#define ROWS 256 /* whose sums stay in int16 */

/* Sums of int16 in halves, and bytes 0 and 2, or 1 and 3. */
static inline uint32_t add_even(uint32_t sums, uint32_t bytes) {
    uint32_t d;
    __asm__("sxtab16 %0, %1, %2" : "=r"(d) : "r"(sums), "r"(bytes));
    return d;
}

static inline uint32_t add_odd(uint32_t sums, uint32_t bytes) {
    uint32_t d;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(d) : "r"(sums), "r"(bytes));
    return d;
}

int32_t tt_bias_sums(int32_t sums[4], const int8_t *g, int32_t T, int32_t stride, int32_t left) {
    const int32_t n = left < 4 ? left : 4;
    for (int32_t c = 0; c < n; c++) {
        sums[c] = 0;
    }
    if (n < 4) {
        for (int32_t t = 0; t < T; t++, g += stride) {
            for (int32_t c = 0; c < n; c++) {
                sums[c] += g[c];
            }
        }
        return n;
    }
    for (int32_t t = 0, end; t < T; t = end) {
        uint32_t even = 0, odd = 0;
        for (end = T - t < ROWS ? T : t + ROWS; t < end; t++, g += stride) {
            const uint32_t bytes = dsp_load(g);
            even = add_even(even, bytes);
            odd = add_odd(odd, bytes);
        }
        sums[0] += (int16_t)even;
        sums[1] += (int16_t)odd;
        sums[2] += (int32_t)even >> 16;
        sums[3] += (int32_t)odd >> 16;
    }
    return n;
}
