#include "tinytrain/tt_hot.h"
#include "tinytrain/tt_rows.h"

TT_HOT int16_t tt_quantize_row(int8_t *out, const int32_t *acc, int32_t n, int32_t base,
                               uint32_t key, uint32_t first) {
    const int32_t peak = tt_peak(acc, n);
    tt_round_row(out, acc, n, tt_gradient_shift(peak), key, first);
    return tt_row_exponent(peak, base);
}
