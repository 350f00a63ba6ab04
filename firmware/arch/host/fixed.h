/* tt_requantize of many: the upper halves of the products alone, where the shift allows it. */
#ifndef TT_FIXED_H
#define TT_FIXED_H

#include "tinytrain/tt_math.h"

/* (acc * mult + 2^(shift-1)) >> shift = ((acc * mult >> 32) + half) >> down, shift >= 33: what the
 * sum loses below 2^32 is below `half`. */
typedef struct {
    int32_t mult, half, down;
} tt_fixed;

static inline int tt_is_fixed(int32_t shift) {
    return shift >= 33;
}

static inline tt_fixed tt_fixed_of(int32_t mult, int32_t shift) {
    const tt_fixed f = {mult, 1 << (shift - 33), shift - 32};
    return f;
}

static inline int32_t tt_scale(int32_t acc, tt_fixed f, int32_t limit) {
    return tt_clamp((tt_multiply_high(acc, f.mult) + f.half) >> f.down, limit);
}

/* acc[i] = tt_requantize(acc[i], mult, shift, limit) */
static inline void tt_scale_all(int32_t *acc, int32_t n, int32_t mult, int32_t shift,
                                int32_t limit) {
    if (tt_is_fixed(shift)) {
        const tt_fixed f = tt_fixed_of(mult, shift);
        for (int32_t i = 0; i < n; i++) {
            acc[i] = tt_scale(acc[i], f, limit);
        }
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        acc[i] = tt_requantize(acc[i], mult, shift, limit);
    }
}

#endif
