#include "small.h"

#include "loss_rows.h"
#include "tinytrain/tt_loss.h"
#include "tinytrain/tt_rows.h"

static inline int32_t probability(uint32_t e, uint32_t sum) {
    return (int32_t)((e * TT_ONE + sum / 2) / sum);
}

typedef struct {
    uint32_t sum;
    uint32_t largest;
} exp_sums;

/* Exponentials of n logits, counted into sums. */
static void make_exp(int32_t *restrict e, const int16_t *restrict a, int32_t n, int32_t top,
                     exp_sums *sums) {
    uint32_t sum = sums->sum, most = sums->largest;
    TT_UNROLL
    for (int32_t j = 0; j < n; j++) {
        const uint32_t v = exp_of(top - a[j]);
        e[j] = (int32_t)v;
        sum += v;
        most = v > most ? v : most;
    }
    sums->sum = sum;
    sums->largest = most;
}

/* The same for all but the label, where it is among the n: it gets 0. */
static void make_others(int32_t *e, const int16_t *a, int32_t n, int32_t top, int32_t label,
                        exp_sums *sums) {
    if (label < 0 || label >= n) {
        make_exp(e, a, n, top, sums);
        return;
    }
    make_exp(e, a, label, top, sums);
    e[label] = 0;
    make_exp(e + label + 1, a + label + 1, n - label - 1, top, sums);
}

/* The gradient of a row that counts; returns its exponent. The largest probability of a wrong class
 * is that of the largest exponential: by the rounding of the tables one may rise where the logit falls. */
static int16_t gradient_row(int8_t *g, const int16_t *a, int32_t label, int32_t V, int32_t exp_add,
                            uint32_t key, uint32_t first) {
    int32_t acc[TT_ROW_PART], at = 0, count = 0;
    const int32_t top = largest(a, V);
    const uint32_t right = exp_of(top - a[label]);
    exp_sums others = {0, 0};
    for (int32_t next = 0; next < V; next += count) {
        at = next;
        count = V - at < TT_ROW_PART ? V - at : TT_ROW_PART;
        make_others(acc, a + at, count, top, label - at, &others);
    }
    const uint32_t sum = others.sum + right;
    const int32_t missing = TT_ONE - probability(right, sum);
    const int32_t most = probability(others.largest, sum);
    const int32_t peak = missing > most ? missing : most;
    const int32_t shift = tt_gradient_shift(peak);
    for (; at >= 0; at -= TT_ROW_PART, count = TT_ROW_PART) {
        if (at + count < V) {
            TT_UNROLL
            for (int32_t j = 0; j < count; j++) {
                acc[j] = probability(exp_of(top - a[at + j]), sum);
            }
        } else { /* the last part has its exponentials */
            TT_UNROLL
            for (int32_t j = 0; j < count; j++) {
                acc[j] = probability((uint32_t)acc[j], sum);
            }
        }
        if (label >= at && label < at + count) {
            acc[label - at] = -missing;
        }
        tt_round_row(g + at, acc, count, shift, key, first + (uint32_t)at);
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
