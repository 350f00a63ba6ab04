#include "tinytrain/tt_rows.h"

int16_t tt_quantize_made(int8_t *out, tt_row_maker make, const void *row, int32_t n, int32_t base,
                         uint32_t key, uint32_t first) {
    int32_t acc[TT_ROW_PART];
    if (n <= TT_ROW_PART) {
        make(acc, row, 0, n);
        return tt_quantize_row(out, acc, n, base, key, first);
    }
    uint32_t peak = 0;
    int32_t at = 0, count = 0;
    for (int32_t next = 0; next < n; next += count) {
        at = next;
        count = n - at < TT_ROW_PART ? n - at : TT_ROW_PART;
        make(acc, row, at, count);
        peak |= (uint32_t)tt_peak(acc, count);
    }
    const int32_t shift = tt_gradient_shift((int32_t)peak);
    for (; at >= 0; at -= TT_ROW_PART, count = TT_ROW_PART) {
        if (at + count < n) { /* the last part is there from the search for the peak */
            make(acc, row, at, count);
        }
        tt_round_row(out + at, acc, count, shift, key, first + (uint32_t)at);
    }
    return tt_row_exponent((int32_t)peak, base);
}
