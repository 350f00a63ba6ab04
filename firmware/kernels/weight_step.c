#include "step.h"

void tt_weight_step_row(tt_weight_step *s, int8_t *w, int8_t *fraction, const int32_t *acc,
                        int32_t C, const float *coef) {
    if (coef != NULL) {
        s->rate = sgd_rate(s->eta, coef[0], s->exponent);
    }
    const tt_multiplier rate = s->rate;
    const int32_t first = s->count;
    uint64_t squares = s->squares;
    for (int32_t i = 0; i < C; i++) {
        const int32_t at = first + i;
        const int32_t delta = tt_apply_multiplier(acc[i], rate, s->limit);
        squares += (uint64_t)((int64_t)acc[i] * acc[i]);
        if (fraction != NULL) {
            step_wide(w + at, fraction + at, delta);
        } else {
            const int32_t wide = w[at] * 65536 - delta + tt_random16(s->key, (uint32_t)at);
            w[at] = (int8_t)tt_clamp(wide >> 16, 127);
        }
    }
    s->squares = squares;
    s->count += C;
}
