/* What a caller of a model sees: what became of a call, and what a step measured. C and C++. */
#ifndef TT_TYPES_H
#define TT_TYPES_H

#include <stdint.h>

typedef enum {
    TT_OK = 0,
    TT_BAD_LABEL = 1,   /* a label is not in [-1, TT_LOGITS / TT_LABELS) */
    TT_BAD_TOKEN = 2,   /* a token of the input is not below TT_TOKENS */
    TT_BAD_RANGE = 3,   /* bytes outside of the state */
    TT_BAD_SAVE = 4,    /* a saved state that is damaged, or another model's */
    TT_NOT_WRITTEN = 5, /* the caller's writer failed, or the flash */
    TT_BAD_SCHEME = 6,  /* there is no such scheme */
    TT_NO_ROOM = 7      /* no flash is kept for the state, or too little */
} tt_status;

/* Sum of the loss over the labels that count (>= 0), in nats * 2^16; how many were the arg max. */
typedef struct {
    int32_t loss_q16;
    int32_t correct;
    int32_t count;
} tt_metrics;

#endif
