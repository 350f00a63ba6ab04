#include "chunks.h"
#include "loss_rows.h"
#include "tinytrain/tt_loss.h"

/* Below 2^32, numerator and quotient are exact in a double, and a quotient that is no integer is
 * further below the next one than a double rounds. */
static inline int32_t probability(uint32_t e, uint32_t sum) {
    return (int32_t)((double)(e * TT_ONE + sum / 2) / (double)sum);
}

typedef struct {
    const int16_t *logits;
    int32_t top, label;
    uint32_t sum;
} softmax;

/* Probabilities, less one for the label. */
static void misses(int32_t *restrict acc, const void *row, int32_t at, int32_t n) {
    const softmax *s = row;
    const uint32_t sum = s->sum;
    for (int32_t j = 0; j < n; j++) {
        acc[j] = (int32_t)exp_of(s->top - s->logits[at + j]);
    }
    for (int32_t j = 0; j < n; j++) {
        acc[j] = probability((uint32_t)acc[j], sum);
    }
    if (s->label >= at && s->label < at + n) {
        acc[s->label - at] -= TT_ONE;
    }
}

void tt_cross_entropy_grad_s16(int8_t *g, int16_t *g_exp, const int16_t *logits,
                               const int16_t *labels, const tt_step *st, int32_t T, int32_t V,
                               int32_t exp_add, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int16_t *a = logits + t * V;
        if (labels[t] < 0 || labels[t] >= V) {
            memset(g + t * V, 0, (size_t)V);
            g_exp[t] = TT_ZERO_EXPONENT;
            continue;
        }
        const int32_t top = largest(a, V);
        const softmax row = {a, top, labels[t], sum_of_exp(a, top, V)};
        g_exp[t] = tt_gradient_row(g + t * V, V, exp_add, key, (uint32_t)((st->row + t) * V),
                                   misses, &row);
    }
}
