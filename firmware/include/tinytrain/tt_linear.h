/* Linear layers: forward, input gradient, weight and bias updates fused with their gradient.
 *
 * Letters: T tokens, C channels in, O channels out, K trained rows. All matrices row-major.
 *
 * Split weights: w holds the frozen rows (flash), wt the trained ones (SRAM); rows[o] >= 0 is the
 * index of a trained row, otherwise ~rows[o] that of a frozen one. rows or wt NULL: w is the whole
 * weight [O, C]. The bias is split the same way when bt is not NULL.
 *
 * Reference: tinytrain/ops/linear.py, bit for bit. Fixed point: Jacob et al. 2018, section 2.2.
 */
#ifndef TT_LINEAR_H
#define TT_LINEAR_H

#include "tinytrain/tt_math.h"

/* y[t,o] = clamp((acc * mult[o] + 2^(shift[o]-1)) >> shift[o], +-127),
 * acc = bias[o] + sum_i x[t,i] * w[o,i]   (C <= 66576 keeps it in int32; |bias| < 2^30)
 *   y int8 [T,O]   x int8 [T,C]   bias int32   mult, shift int32 [O] if per_channel else [1] */
void tt_linear_s8(int8_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                  const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                  const int32_t *shift, int32_t T, int32_t C, int32_t O, int32_t per_channel);

/* The same with an int16 result, clamped to +-32767: logits. */
void tt_linear_s16(int16_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                   const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                   const int32_t *shift, int32_t T, int32_t C, int32_t O, int32_t per_channel);

/* Input gradient: acc[t,i] = sum_o g[t,o] * w[o,i] as int8 with stochastic rounding;
 * gx_exp[0] = g_exp[0] + shift + exp_add.   scratch: int32 [scratch_rows,C]   O <= 66576
 * The shift needs the largest accumulator of all rows: with scratch_rows = T they are made once and
 * held, with fewer they are made twice. The result is the same. */
void tt_linear_dx_s8(int8_t *gx, int32_t *gx_exp, const int8_t *g, const int32_t *g_exp,
                     const int8_t *w, const int8_t *wt, const int16_t *rows, int32_t *scratch,
                     const tt_step *st, int32_t T, int32_t C, int32_t O, int32_t scratch_rows,
                     int32_t exp_add, int32_t stream);

/* Weight gradient acc[k,i] = sum_t g[t,o] * x[t,i] and the step, for the trained rows o of k.
 * moment not NULL: LSB-normalised step, delta = clamp(lr * 2^E * acc / sqrt(moment), +-8 lr) weight
 *   LSBs (none while moment is 0), then moment <- beta moment + (1-beta) mean((2^E acc)^2).
 * coefs not NULL: SGD, delta = lr * coefs[o] * 2^E * acc weight LSBs (QAS: Lin et al. 2022, eq. 4).
 * fraction NULL: w <- clamp(floor(w - delta + u), +-127), u random in [0,1).
 * fraction not NULL: 256 w + fraction <- clamp(it - round(256 delta), +-127*256).
 *   w, fraction int8 [K,C]   moment float [1]   coefs float [O] if per_channel else [1]
 *   scratch: int32 [C] */
void tt_linear_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                         const int32_t *g_exp, const int8_t *x, const float *coefs,
                         const int16_t *rows, int32_t *scratch, const tt_step *st, int32_t T,
                         int32_t C, int32_t O, int32_t per_channel, int32_t stream);

/* Bias gradient acc[k] = sum_t g[t,o] and the step; unit: bias LSBs of one weight LSB (1 / s_x).
 * b <- clamp(b - delta, +-(2^30 - 1)), rounded half up; rules as above.   b int32 [K] */
void tt_linear_bias_update_s32(int32_t *b, float *moment, const int8_t *g, const int32_t *g_exp,
                               const float *coefs, const int16_t *rows, const tt_step *st,
                               int32_t T, int32_t O, int32_t per_channel, float unit);

#endif
