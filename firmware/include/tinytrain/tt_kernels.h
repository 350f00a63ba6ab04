/* All kernels. One header a family; the calling convention is one for all:
 * outputs, inputs, scratch, step, int32_t dims, floats. An output that updates an input in place is
 * passed once, as output. Shapes are proven by the compiler, so kernels return nothing. */
#ifndef TT_KERNELS_H
#define TT_KERNELS_H

#include "tinytrain/tt_attention.h"
#include "tinytrain/tt_attention_grad.h"
#include "tinytrain/tt_conv.h"
#include "tinytrain/tt_elementwise.h"
#include "tinytrain/tt_gradient.h"
#include "tinytrain/tt_linear.h"
#include "tinytrain/tt_loss.h"
#include "tinytrain/tt_norm.h"
#include "tinytrain/tt_pool.h"
#include "tinytrain/tt_tokens.h"
#include "tinytrain/tt_update.h"

#endif
