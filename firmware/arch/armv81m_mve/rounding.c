#include "quantize.h"
#include "tinytrain/tt_rows.h"

int32_t tt_peak(const int32_t *acc, int32_t n) {
    return peak_of(acc, LINE, n);
}

void tt_round_row(int8_t *out, const int32_t *acc, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first) {
    if ((first & 1u) != 0 && n > 0) {
        out[0] = tt_stochastic_shift(acc[0], shift, key, first);
        out++;
        acc++;
        n--;
        first++;
    }
    round_sums(out, acc, LINE, n, shift, key, first);
}
