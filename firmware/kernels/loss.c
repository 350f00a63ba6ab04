#include "tinytrain/tt_loss.h"

#include "tinytrain/tt_tables.h"

#define ONE 32768 /* a probability of one */

/* 65535 exp(-d / 256), d >= 0. */
static inline uint32_t exp_of(int32_t d) {
    const int32_t i = d > 4095 ? 4095 : d;
    return ((uint32_t)tt_exp16[i >> 4] * tt_exp256[i & 15] + (1u << 14)) >> 15;
}

/* First largest of n logits. */
static int32_t first_largest(const int16_t *a, int32_t n) {
    int32_t best = 0;
    for (int32_t j = 1; j < n; j++) {
        best = a[j] > a[best] ? j : best;
    }
    return best;
}

/* Sum of e over a row; *wrong: the largest e that is not the label's. The rounding of the tables may
 * make e rise by one where the logit falls, so the largest logit does not tell. */
static uint32_t sum_of_exp(const int16_t *a, int32_t top, int32_t label, int32_t n,
                           uint32_t *wrong) {
    uint32_t sum = 0;
    *wrong = 0;
    for (int32_t j = 0; j < n; j++) {
        const uint32_t e = exp_of(top - a[j]);
        sum += e;
        *wrong = e > *wrong && j != label ? e : *wrong;
    }
    return sum;
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
        const int32_t best = first_largest(a, V);
        uint32_t wrong;
        const uint32_t sum = sum_of_exp(a, a[best], label, V, &wrong);
        loss[t] = log_q16(sum) - log_q16(65535) + (a[best] - a[label]) * 256;
        verdict[t] = best == label;
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

static inline int32_t probability(uint32_t e, uint32_t sum) {
    return (int32_t)((e * ONE + sum / 2) / sum);
}

/* The gradient of a row that counts; returns its exponent. */
static int16_t gradient_row(int8_t *g, const int16_t *a, int32_t label, int32_t V, int32_t exp_add,
                            uint32_t key, uint32_t first) {
    const int32_t top = a[first_largest(a, V)];
    uint32_t wrong;
    const uint32_t sum = sum_of_exp(a, top, label, V, &wrong);
    const int32_t missing = ONE - probability(exp_of(top - a[label]), sum);
    const int32_t most = probability(wrong, sum);
    const int32_t peak = missing > most ? missing : most;
    const int32_t shift = tt_gradient_shift(peak);
    for (int32_t j = 0; j < V; j++) {
        const int32_t acc = probability(exp_of(top - a[j]), sum) - (j == label ? ONE : 0);
        g[j] = tt_stochastic_shift(acc, shift, key, first + (uint32_t)j);
    }
    return tt_row_exponent(peak, exp_add);
}

void tt_cross_entropy_grad_s16(int8_t *g, int16_t *g_exp, const int16_t *logits,
                               const int16_t *labels, const tt_step *st, int32_t T, int32_t V,
                               int32_t exp_add, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        int8_t *row = g + t * V;
        if (labels[t] >= 0 && labels[t] < V) {
            g_exp[t] = gradient_row(row, logits + t * V, labels[t], V, exp_add, key,
                                    (uint32_t)((st->row + t) * V));
            continue;
        }
        for (int32_t j = 0; j < V; j++) {
            row[j] = 0;
        }
        g_exp[t] = TT_ZERO_EXPONENT;
    }
}
