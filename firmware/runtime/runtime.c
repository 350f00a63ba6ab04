#include "tinytrain/tt_runtime.h"

#include "model.h"

tt_runtime tt_run;

/* The comments differ, so that the compiler does not fold the two into one function. */
__attribute__((noinline)) void tt_mark_begin(void) {
    __asm__ volatile("/* begin */" ::: "memory");
}

__attribute__((noinline)) void tt_mark_end(void) {
    __asm__ volatile("/* end */" ::: "memory");
}

void tt_init(void) {
#ifdef TT_PSRAM_BYTES
    tt_model_place();
#endif
    tt_run.step.seed = TT_SEED;
    tt_run.step.step = 0;
    tt_run.step.learning_rate = tt_learning_rate(0);
    tt_run.step.beta = tt_beta(0);
}

float tt_learning_rate(uint32_t step) {
    const tt_knot *knots = tt_model_schedule;
    if (step <= knots[0].step) {
        return knots[0].rate;
    }
    for (uint32_t i = 1; i < tt_model_knots; i++) {
        if (step < knots[i].step) {
            const tt_knot a = knots[i - 1], b = knots[i];
            const float part = (float)(step - a.step) / (float)(b.step - a.step);
            return a.rate + (b.rate - a.rate) * part;
        }
    }
    return knots[tt_model_knots - 1].rate;
}

float tt_beta(uint32_t step) {
    return step < 40 ? 0.95f : 0.98f;
}

/* Kernels trust labels and tokens, so what came over a wire is checked here. */
tt_status tt_check_sample(void) {
    for (int32_t i = 0; i < TT_LABELS; i++) {
        if (tt_model_labels[i] < -1 || tt_model_labels[i] >= TT_LOGITS / TT_LABELS) {
            return TT_BAD_LABEL;
        }
    }
#ifdef TT_TOKENS
    const uint8_t *ids = (const uint8_t *)tt_model_input;
    for (int32_t i = 0; i < TT_INPUT_BYTES; i += TT_TOKEN_BYTES) {
        const uint32_t high = TT_TOKEN_BYTES == 2 ? ids[i + TT_TOKEN_BYTES - 1] : 0u;
        if ((ids[i] | high << 8) >= TT_TOKENS) {
            return TT_BAD_TOKEN;
        }
    }
#endif
    return TT_OK;
}

tt_status tt_train_step(tt_metrics *metrics) {
    const tt_status status = tt_check_sample();
    if (status != TT_OK) {
        return status;
    }
    tt_run.step.learning_rate = tt_learning_rate(tt_run.step.step);
    tt_run.step.beta = tt_beta(tt_run.step.step);
    tt_mark_begin();
    tt_model_train(&tt_run.step, metrics);
    tt_mark_end();
    tt_run.step.step++;
    return TT_OK;
}

tt_status tt_evaluate(tt_metrics *metrics, const int16_t **logits) {
    const tt_status status = tt_check_sample();
    if (status == TT_OK) {
        *logits = tt_model_evaluate(metrics);
    }
    return status;
}

static uint32_t region_bytes(void) {
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < tt_model_region_count; i++) {
        bytes += tt_model_regions[i].bytes;
    }
    return bytes;
}

uint32_t tt_state_bytes(void) {
    return region_bytes() + TT_STATE_TAIL_BYTES;
}

uint8_t *tt_state_at(uint32_t offset, uint32_t *run) {
    for (uint32_t i = 0; i < tt_model_region_count; i++) {
        const tt_region *region = &tt_model_regions[i];
        if (offset < region->bytes) {
            *run = region->bytes - offset;
            return (uint8_t *)region->data + offset;
        }
        offset -= region->bytes;
    }
    *run = TT_STATE_TAIL_BYTES - offset;
    return (uint8_t *)&tt_run.step + offset;
}

tt_status tt_state_check(uint32_t offset, uint32_t count) {
    const uint32_t bytes = tt_state_bytes();
    return offset <= bytes && count <= bytes - offset ? TT_OK : TT_BAD_RANGE;
}

/* Between the state and a buffer, in the direction that is not NULL. */
static tt_status copy(uint32_t offset, uint8_t *out, const uint8_t *in, uint32_t count) {
    const tt_status status = tt_state_check(offset, count);
    for (uint32_t done = 0; status == TT_OK && done < count;) {
        uint32_t run;
        uint8_t *place = tt_state_at(offset + done, &run);
        for (; run > 0 && done < count; run--, done++, place++) {
            if (in) {
                *place = in[done];
            } else {
                out[done] = *place;
            }
        }
    }
    return status;
}

tt_status tt_state_read(uint8_t *out, uint32_t offset, uint32_t count) {
    return copy(offset, out, 0, count);
}

tt_status tt_state_write(uint32_t offset, const uint8_t *bytes, uint32_t count) {
    return copy(offset, 0, bytes, count);
}
