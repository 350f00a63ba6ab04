/* The calls of tinytrain.h that the runtime does not have itself: samples in real units, the class
 * of a sample, a saved state in memory. */
#include "tinytrain.h"

#include "model.h"
#include "tinytrain/tt_runtime.h"

_Static_assert(TT_SAVE_HEADER_BYTES + TT_STATE_BYTES + TT_STATE_TAIL_BYTES +
                       TT_SAVE_TRAILER_BYTES ==
                   TT_SAVE_BYTES,
               "tinytrain.h is of another model");

#ifdef TT_TOKENS

tt_status tt_set_input(const uint16_t *tokens) {
    for (int32_t i = 0; i < TT_INPUT_VALUES; i++) {
        if (tokens[i] >= TT_TOKENS) {
            return TT_BAD_TOKEN;
        }
    }
    uint8_t *out = (uint8_t *)tt_model_input;
    for (int32_t i = 0; i < TT_INPUT_VALUES; i++) {
        *out++ = (uint8_t)tokens[i];
        if (TT_TOKEN_BYTES == 2) {
            *out++ = (uint8_t)(tokens[i] >> 8);
        }
    }
    return TT_OK;
}

#else

/* To the nearest, ties to even, as on the host; what is no number becomes 0. */
static int8_t quantize(float value) {
    const double steps = (double)value / TT_INPUT_SCALE;
    if (!(steps > -127.0)) {
        return steps <= -127.0 ? -127 : 0;
    }
    if (steps >= 127.0) {
        return 127;
    }
    const int32_t whole = (int32_t)(steps + 128.0) - 128; /* rounds down */
    const double rest = steps - whole;
    return (int8_t)(whole + (rest > 0.5 || (rest == 0.5 && (whole & 1))));
}

void tt_set_input(const float *values) {
    for (int32_t i = 0; i < TT_INPUT_VALUES; i++) {
        tt_model_input[i] = quantize(values[i]);
    }
}

#endif

void tt_set_labels(const int16_t *labels) {
    for (int32_t i = 0; i < TT_LABELS; i++) {
        tt_model_labels[i] = labels[i];
    }
}

int32_t tt_predict(const int16_t **logits) {
    tt_metrics metrics;
    const int16_t *found;
    for (int32_t i = 0; i < TT_LABELS; i++) {
        tt_model_labels[i] = -1;
    }
    if (tt_evaluate(&metrics, &found) != TT_OK) {
        return -1;
    }
    if (logits) {
        *logits = found;
    }
    const int16_t *last = found + TT_LOGITS - TT_CLASSES;
    int32_t best = 0;
    for (int32_t i = 1; i < TT_CLASSES; i++) {
        best = last[i] > last[best] ? i : best;
    }
    return best;
}

int32_t tt_write_memory(void *to, uint32_t at, const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        ((uint8_t *)to)[at + i] = bytes[i];
    }
    return 0;
}

static int32_t read_memory(void *from, uint32_t at, uint8_t *out, uint32_t count) {
    const uint8_t *saved = *(const uint8_t *const *)from;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = saved[at + i];
    }
    return 0;
}

tt_status tt_load(const uint8_t *saved) {
    return tt_load_from(read_memory, &saved);
}
