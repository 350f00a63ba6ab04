/* The calls of tinytrain.h that the runtime does not have itself: samples in real units, the class
 * of a sample, the state as one block that can be stored. */
#include "tinytrain.h"

#include "model.h"
#include "tinytrain/tt_crc.h"
#include "tinytrain/tt_runtime.h"

#define HEADER_BYTES 8u  /* hash of the model, bytes of the state */
#define TRAILER_BYTES 8u /* CRC-32 of all before, and its complement */

_Static_assert(HEADER_BYTES + TT_STATE_BYTES + TT_STATE_TAIL_BYTES + TRAILER_BYTES == TT_SAVE_BYTES,
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

static void put(uint8_t *out, uint32_t value) {
    for (int32_t i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> 8 * i);
    }
}

static uint32_t get(const uint8_t *in) {
    return in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

int32_t tt_write_memory(void *to, uint32_t at, const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        ((uint8_t *)to)[at + i] = bytes[i];
    }
    return 0;
}

tt_status tt_save(tt_writer *write, void *to) {
    uint8_t words[8];
    put(words, TT_MODEL_HASH);
    put(words + 4, tt_state_bytes());
    uint32_t crc = tt_crc32(0, words, sizeof words);
    int32_t failed = write(to, 0, words, sizeof words);
    for (uint32_t at = 0, run; !failed && at < tt_state_bytes(); at += run) {
        const uint8_t *place = tt_state_at(at, &run);
        crc = tt_crc32(crc, place, run);
        failed = write(to, HEADER_BYTES + at, place, run);
    }
    put(words, crc);
    put(words + 4, ~crc);
    return failed || write(to, TT_SAVE_BYTES - TRAILER_BYTES, words, sizeof words) ? TT_NOT_WRITTEN
                                                                                   : TT_OK;
}

tt_status tt_load(const uint8_t *saved) {
    const uint8_t *state = saved + HEADER_BYTES, *trailer = state + tt_state_bytes();
    if (get(saved) != TT_MODEL_HASH || get(saved + 4) != tt_state_bytes()) {
        return TT_BAD_SAVE;
    }
    const uint32_t crc = tt_crc32(0, saved, TT_SAVE_BYTES - TRAILER_BYTES);
    if (get(trailer) != crc || get(trailer + 4) != ~crc) {
        return TT_BAD_SAVE;
    }
    return tt_state_write(0, state, tt_state_bytes());
}
