/* What a generated model gives to the runtime: its state, its schedule, its two entry points.
 * model.h, generated beside model.c, has the sizes as macros: TT_MODEL_NAME, TT_MODEL_HASH,
 * TT_INPUT_BYTES, TT_LABELS, TT_LOGITS, TT_ARENA_BYTES, TT_SEED and, where the input is tokens,
 * TT_TOKEN_BYTES (1 or 2) and TT_TOKENS (ids are below it); TT_SCHEMES where there are several;
 * TT_PSRAM_BYTES where frozen weights lie in PSRAM. */
#ifndef TT_MODEL_H
#define TT_MODEL_H

#include "tinytrain/tt_math.h"
#include "tinytrain/tt_types.h"

/* Bytes in SRAM that persist between steps: trained weights, fractions, biases, moments. */
typedef struct {
    const char *name;
    void *data;
    uint32_t bytes;
} tt_region;

/* A corner of the learning-rate schedule; steps rise strictly, at least one knot. */
typedef struct {
    uint32_t step;
    float rate;
} tt_knot;

/* A tensor's part of what a scheme is worth: factor times its moment. */
typedef struct {
    float *moment;
    float factor;
} tt_worth;

/* One of several schemes: its training step, the terms of its worth. */
typedef struct {
    const char *name;
    void (*train)(const tt_step *st, tt_metrics *metrics);
    const tt_worth *terms;
    uint32_t count;
} tt_scheme;

/* Of a model that holds several: [TT_SCHEMES]; and in its state the index of the one in use, and how
 * many samples were looked at since the last choice. */
extern const tt_scheme tt_model_schemes[];
extern uint32_t *const tt_model_choice;

extern const tt_region tt_model_regions[];
extern const uint32_t tt_model_region_count;
extern const tt_knot tt_model_schedule[];
extern const uint32_t tt_model_knots;
extern int8_t tt_model_input[];   /* [TT_INPUT_BYTES] */
extern int16_t tt_model_labels[]; /* [TT_LABELS], -1: does not count */

/* Of a model with TT_PSRAM_BYTES: copies the frozen weights there from the flash. */
void tt_model_place(void);

/* Forward, loss, backward and update on tt_model_input and tt_model_labels; of several schemes that
 * of the one in use. */
void tt_model_train(const tt_step *st, tt_metrics *metrics);

/* Forward and loss. Logits int16 [TT_LOGITS], 1/256 nat each, valid until the next call. */
const int16_t *tt_model_evaluate(tt_metrics *metrics);

#endif
