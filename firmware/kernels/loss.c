#include "small.h"

#include "tinytrain/tt_loss.h"

#include "loss_rows.h"

/* Whether the label is the first of the largest. */
static int first_is(const int16_t *a, int32_t label, int32_t top) {
    int32_t j = 0;
    while (j < label && a[j] != top) {
        j++;
    }
    return j == label && a[j] == top;
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
        verdict[t] = (int8_t)first_is(a, label, top);
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
