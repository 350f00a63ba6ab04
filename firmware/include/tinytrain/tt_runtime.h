/* The training loop around a generated model: step count, learning rate, state as bytes.
 * It needs no port; the host emulator is this and the model. One run at a time, no interrupts. */
#ifndef TT_RUNTIME_H
#define TT_RUNTIME_H

#include "tinytrain/tt_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of tt_runtime in .bss, the only static of the runtime; the memory plan reads this line. */
#define TT_RUNTIME_BYTES 48

/* Bytes behind the regions in the state: seed and step, uint32 each. */
#define TT_STATE_TAIL_BYTES 8

typedef struct {
    /* First: the state's last bytes are its seed and step. Its alignment pads the size to 8. */
    TT_ALIGNED(8) tt_step step;
    uint32_t crc;        /* the frame that is being received: its CRC so far, */
    uint32_t received;   /* its unescaped bytes so far, */
    uint8_t argument[8]; /* the first bytes of its payload where they are numbers, */
    uint8_t type;        /* its type and number, */
    uint8_t sequence;
    uint8_t escaped;  /* whether the last byte was an escape, */
    uint8_t damaged;  /* whether it cannot be a frame any more */
    uint32_t refused; /* frames refused since reset */
    uint8_t kept;     /* what the flash holds: a tt_kept */
} tt_runtime;

TT_STATIC_ASSERT(sizeof(tt_runtime) == TT_RUNTIME_BYTES, "the memory plan counts on this size");

extern tt_runtime tt_run;

/* Seed TT_SEED, step 0. The weights are those of the image (.data) and are not touched. */
void tt_init(void);

/* One step on tt_model_input and tt_model_labels, which are checked first. The first call runs with
 * step 0; afterwards tt_run.step.step counts the steps done. */
tt_status tt_train_step(tt_metrics *metrics);

/* Forward and loss of what is in tt_model_input and tt_model_labels; logits as tt_model_evaluate. */
tt_status tt_evaluate(tt_metrics *metrics, const int16_t **logits);

/* TT_OK if the kernels may read what is in tt_model_input and tt_model_labels. */
tt_status tt_check_sample(void);

/* ---- models that hold several schemes (runtime/schemes.c) ---- */

/* Index of the scheme that tt_train_step trains: 0 at first. */
uint32_t tt_scheme_in_use(void);

/* Go on with another one. Weights, step and moments stay as they are. */
tt_status tt_use(uint32_t scheme);

/* Look at a sample before a choice: the step of each scheme at rate 0, which changes nothing but
 * moments. These become means over the samples since the last choice; choose before training goes
 * on. Metrics as tt_evaluate. */
tt_status tt_probe(tt_metrics *metrics);

/* What a scheme is worth on the samples that were probed, until tt_choose: the mean squared gradient of all that it
 * trains, in nats^2 * 2^24 by weight LSBs and, unless the recipe says otherwise, by MAC of a step, in
 * units of the dearest step. */
uint32_t tt_worth_q24(uint32_t scheme);

/* Use the scheme that is worth most by what was probed; gives its index. The one in use stays where
 * none is worth more. All moments begin anew, so that what follows is as if nothing had been probed.
 * Rules without moments (sgd) measure no worth. */
uint32_t tt_choose(void);

/* Learning rate of a step: linear between the knots, constant outside. */
float tt_learning_rate(uint32_t step);

/* Second-moment decay of a step. */
float tt_beta(uint32_t step);

/* The state: all regions in order, then seed and step. */
uint32_t tt_state_bytes(void);
tt_status tt_state_check(uint32_t offset, uint32_t count);
tt_status tt_state_read(uint8_t *out, uint32_t offset, uint32_t count);
tt_status tt_state_write(uint32_t offset, const uint8_t *bytes, uint32_t count);

/* The byte at offset of the state; run[0] is how many follow in one piece. offset < state bytes. */
uint8_t *tt_state_at(uint32_t offset, uint32_t *run);

/* Empty functions before and after tt_model_train: where an instruction counter looks. */
void tt_mark_begin(void);
void tt_mark_end(void);

#ifdef __cplusplus
}
#endif

#endif
