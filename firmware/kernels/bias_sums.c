#include "step.h"

int32_t tt_bias_sums(int32_t sums[4], const int8_t *g, int32_t T, int32_t stride, int32_t left) {
    const int32_t n = left < 4 ? left : 4;
    for (int32_t c = 0; c < n; c++) {
        sums[c] = 0;
    }
    for (int32_t t = 0; t < T; t++, g += stride) {
        for (int32_t c = 0; c < n; c++) {
            sums[c] += g[c];
        }
    }
    return n;
}
