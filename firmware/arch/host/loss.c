#include "tinytrain/tt_loss.h"

#include "chunks.h"
#include "tinytrain/tt_tables.h"

#define ONE 32768 /* a probability of one */

/* 65535 exp(-d / 256), d >= 0. */
static inline uint32_t exp_of(int32_t d) {
    const int32_t i = d > 4095 ? 4095 : d;
    return ((uint32_t)tt_exp16[i >> 4] * tt_exp256[i & 15] + (1u << 14)) >> 15;
}

static int32_t largest(const int16_t *a, int32_t n) {
    int16_t top = a[0];
    for (int32_t j = 1; j < n; j++) {
        top = a[j] > top ? a[j] : top;
    }
    return top;
}

static uint32_t sum_of_exp(const int16_t *a, int32_t top, int32_t n) {
    uint32_t sum = 0;
    for (int32_t j = 0; j < n; j++) {
        sum += exp_of(top - a[j]);
    }
    return sum;
}

/* Whether no logit before the label's, itself the largest, is as large. */
static int8_t is_first(const int16_t *a, int32_t label, int32_t top) {
    for (int32_t j = 0; j < label; j++) {
        if (a[j] == top) {
            return 0;
        }
    }
    return a[label] == top;
}

/* 2^16 ln(x), x > 0: the exponent, seven bits by table, linear between. */
static int32_t log_q16(uint32_t x) {
    const int32_t exponent = tt_bit_length(x) - 1;
    const uint32_t m = x << (31 - exponent);
    const uint32_t i = (m >> 24) & 127u;
    const uint32_t part = (m >> 8) & 0xFFFFu;
    const uint32_t rise = (uint32_t)(tt_ln128[i + 1] - tt_ln128[i]);
    return exponent * tt_ln128[128] + tt_ln128[i] + (int32_t)((rise * part + (1u << 15)) >> 16);
}

void tt_row_loss_s16(int32_t *loss, int8_t *verdict, const int16_t *logits, const int16_t *labels,
                     int32_t T, int32_t V) {
    for (int32_t t = 0; t < T; t++) {
        const int16_t *a = logits + t * V;
        const int32_t label = labels[t];
        loss[t] = 0;
        verdict[t] = -1;
        if (label < 0 || label >= V) {
            continue;
        }
        const int32_t top = largest(a, V);
        loss[t] = log_q16(sum_of_exp(a, top, V)) - log_q16(65535) + (top - a[label]) * 256;
        verdict[t] = is_first(a, label, top);
    }
}

void tt_metrics_s32(int32_t *metrics, const int32_t *loss, const int8_t *verdict, int32_t T) {
    int32_t total = 0, correct = 0, counted = 0;
    for (int32_t t = 0; t < T; t++) {
        total = total > INT32_MAX - loss[t] ? INT32_MAX : total + loss[t];
        correct += verdict[t] == 1;
        counted += verdict[t] >= 0;
    }
    metrics[0] = total;
    metrics[1] = correct;
    metrics[2] = counted;
}

/* Below 2^32, numerator and quotient are exact in a double, and a quotient that is no integer is
 * further below the next one than a double rounds. */
static inline int32_t probability(uint32_t e, uint32_t sum) {
    return (int32_t)((double)(e * ONE + sum / 2) / (double)sum);
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
        acc[s->label - at] -= ONE;
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
