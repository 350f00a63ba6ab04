#ifndef MODEL_H
#define MODEL_H

#include "tinytrain/tt_kernels.h"

#define TT_MODEL_NAME "fake"
#define TT_MODEL_HASH 0x1234ABCDu
#define TT_INPUT_BYTES 64
#define TT_LABELS 1
#define TT_LOGITS 4
#define TT_ARENA_BYTES 128
#define TT_SEED 7u

#endif
