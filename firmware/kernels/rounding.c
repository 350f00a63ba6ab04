#include "tinytrain/tt_hot.h"
#include "tinytrain/tt_rows.h"

TT_HOT int32_t tt_peak(const int32_t *acc, int32_t n) {
    uint32_t peak = 0;
    TT_UNROLL
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

TT_HOT void tt_round_row(int8_t *out, const int32_t *acc, int32_t n, int32_t shift, uint32_t key,
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
        TT_UNROLL
        for (; i + 1 < n; i += 2, number += TT_GOLDEN) {
            const uint32_t random = tt_mix(number);
            const int32_t a = acc[i], b = acc[i + 1];
            out[i] = rounded(a * unit, random & 0xFFFFu);
            out[i + 1] = rounded(b * unit, random >> 16);
        }
    } else {
        const int32_t down = shift - 16;
        TT_UNROLL
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
