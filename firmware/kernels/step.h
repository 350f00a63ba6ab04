/* What the steps of weights share. */
#ifndef TT_STEP_H
#define TT_STEP_H

#include <stddef.h>

#include "tinytrain/tt_update.h"
#include "tinytrain/tt_uses.h"

/* Whether the step is LSB-normalised; otherwise it is SGD's. */
static inline int has_moment(const float *moment) {
    return TT_USES_LSB && (!TT_USES_SGD || moment != NULL);
}

/* Whether weights are stored as int16. */
static inline int has_fraction(const int8_t *fraction) {
    return TT_USES_FRACTIONS && fraction != NULL;
}

/* eta * coef * 2^E. */
static inline tt_multiplier sgd_rate(float eta, float coef, int32_t exponent) {
    return tt_float_multiplier((eta * coef) * tt_pow2f(exponent));
}

/* 256 w + fraction <- clamp(it - delta). */
static inline void step_wide(int8_t *w, int8_t *fraction, int32_t delta) {
    const int32_t wide = tt_clamp(w[0] * 256 + fraction[0] - delta, 127 * 256);
    w[0] = (int8_t)((wide + 128) >> 8);
    fraction[0] = (int8_t)(wide - w[0] * 256);
}

/* sums[c] = sum over T rows, `stride` apart, of column c: of the first four, or of the `left` that there
 * are. Gives how many. */
int32_t tt_bias_sums(int32_t sums[4], const int8_t *g, int32_t T, int32_t stride, int32_t left);

#endif
