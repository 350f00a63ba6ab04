#include "fast_step.h"

void tt_weight_step_row(tt_weight_step *s, int8_t *w, int8_t *fraction, const int32_t *acc,
                        int32_t C, const float *coef) {
    step_sums(s, w, fraction, acc, LINE, C, coef);
}
