/* Rows of accumulators -> int8. */
#include "tinytrain/tt_rows.h"

int32_t tt_peak(const int32_t *acc, int32_t n) {
    uint32_t peak = 0;
    for (int32_t i = 0; i < n; i++) {
        const uint32_t sign = (uint32_t)(acc[i] >> 31);
        peak |= ((uint32_t)acc[i] ^ sign) - sign;
    }
    return (int32_t)peak;
}

/* floor((wide + noise) * 2^-16), in [-128, 128]. */
static inline int8_t rounded(int32_t wide, uint32_t noise) {
    return (int8_t)tt_clamp((wide + (int32_t)noise) >> 16, 127);
}

void tt_round_row(int8_t *out, const int32_t *acc, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first) {
    if (shift == 0 || shift > 30) {
        for (int32_t i = 0; i < n; i++) {
            out[i] = shift == 0 ? (int8_t)acc[i] : 0;
        }
        return;
    }
    int32_t i = 0;
    if ((first & 1u) != 0 && n > 0) {
        out[0] = tt_stochastic_shift(acc[0], shift, key, first);
        i = 1;
    }
    uint32_t number = key + ((first + 1u) >> 1) * TT_GOLDEN;
    if (shift <= 16) {
        const int32_t unit = 1 << (16 - shift);
        for (; i + 1 < n; i += 2, number += TT_GOLDEN) {
            const uint32_t random = tt_mix(number);
            const int32_t a = acc[i], b = acc[i + 1];
            out[i] = rounded(a * unit, random & 0xFFFFu);
            out[i + 1] = rounded(b * unit, random >> 16);
        }
    } else {
        const int32_t down = shift - 16;
        for (; i + 1 < n; i += 2, number += TT_GOLDEN) {
            const uint32_t random = tt_mix(number);
            const int32_t a = acc[i], b = acc[i + 1];
            out[i] = rounded(a >> down, random & 0xFFFFu);
            out[i + 1] = rounded(b >> down, random >> 16);
        }
    }
    if (i < n) {
        out[i] = tt_stochastic_shift(acc[i], shift, key, first + (uint32_t)i);
    }
}

int16_t tt_quantize_row(int8_t *out, const int32_t *acc, int32_t n, int32_t base, uint32_t key,
                        uint32_t first) {
    const int32_t peak = tt_peak(acc, n);
    tt_round_row(out, acc, n, tt_gradient_shift(peak), key, first);
    return tt_row_exponent(peak, base);
}

int16_t tt_quantize_made(int8_t *out, tt_row_maker make, const void *row, int32_t n, int32_t base,
                         uint32_t key, uint32_t first) {
    int32_t acc[TT_ROW_PART];
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
