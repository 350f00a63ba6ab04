/* A model that is none: weights move by the input, the loss is their sum. */
#include "model.h"

#include "tinytrain/tt_model.h"

static _Alignas(8) int8_t weights[264] = {1, 2, 3, -4};
static _Alignas(8) int32_t bias[4];
static _Alignas(8) uint8_t arena[TT_ARENA_BYTES];
static _Alignas(8) const int8_t table[8] = {3, 1, 4, 1, 5, 9, 2, 6};

const tt_region tt_model_regions[] = {
    {"weights", weights, sizeof weights},
    {"bias", bias, sizeof bias},
};
const uint32_t tt_model_region_count = 2;
const tt_knot tt_model_schedule[] = {{0, 0.25f}, {4, 2.0f}, {11, 0.3f}, {300, 0.0f}};
const uint32_t tt_model_knots = 4;
_Alignas(8) int8_t tt_model_input[TT_INPUT_BYTES];
_Alignas(8) int16_t tt_model_labels[4];

/* Input -128 -128 -128: use up the stack. By a pointer, as recursion that shows is not built. */
static int32_t deep(int32_t n) {
    volatile int32_t here[16] = {n};
    int32_t (*deeper)(int32_t) = deep;
    __asm__("" : "+r"(deeper));
    return n > 100000 ? here[0] : deeper(n + 1) + here[n & 15];
}

void tt_model_train(const tt_step *st, tt_metrics *metrics) {
    int32_t sum = 0;
    if (tt_model_input[0] == -128 && tt_model_input[1] == -128 && tt_model_input[2] == -128) {
        sum = deep(0);
    }
    for (int32_t i = 0; i < 264; i++) {
        const int32_t by = tt_model_input[i % TT_INPUT_BYTES] + table[i & 7];
        const uint32_t key = tt_key(st, 1);
        weights[i] =
            (int8_t)tt_clamp(weights[i] + (by >> 3) + (tt_random16(key, (uint32_t)i) & 1), 127);
        sum += weights[i];
    }
    if (tt_model_labels[0] >= 0) {
        bias[tt_model_labels[0]] += (int32_t)(st->learning_rate * 1000.0f * st->beta);
    }
    metrics->loss_q16 = tt_abs(sum) * 100 + 1;
    metrics->correct = tt_model_labels[0] == 0;
    metrics->count = tt_model_labels[0] >= 0;
}

const int16_t *tt_model_evaluate(tt_metrics *metrics) {
    int16_t *logits = (int16_t *)(void *)arena;
    for (int32_t k = 0; k < TT_LOGITS; k++) {
        int32_t acc = bias[k];
        for (int32_t i = 0; i < TT_INPUT_BYTES; i++) {
            acc += weights[66 * k + i] * tt_model_input[i];
        }
        logits[k] = (int16_t)tt_clamp(acc, 32767);
    }
    metrics->loss_q16 = 65536 + 32768;
    metrics->correct = 1;
    metrics->count = tt_model_labels[0] >= 0;
    return logits;
}
