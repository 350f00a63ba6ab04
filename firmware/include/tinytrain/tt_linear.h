/* Linear layers: forward and input gradient. Their updates are in tt_update.h.
 *
 * Letters: T tokens, C channels in, O channels out, K trained rows. All matrices row-major.
 *
 * Split weights: w holds the frozen rows (flash), wt the trained ones (SRAM); rows[o] >= 0 is the
 * index of a trained row, otherwise ~rows[o] that of a frozen one. rows or wt NULL: w is the whole
 * weight [O, C]. The bias is split the same way when bt is not NULL.
 *
 * room: bytes of scratch, which may be none where no size is given; a fast kernel keeps int16 panels
 * there, and is the faster the more there is.
 *
 * Reference: tinytrain/ops/linear.py, bit for bit. Fixed point: Jacob et al. 2018, section 2.2.
 */
#ifndef TT_LINEAR_H
#define TT_LINEAR_H

#include "tinytrain/tt_math.h"

/* y[t,o] = clamp((acc * mult[o] + 2^(shift[o]-1)) >> shift[o], +-127),
 * acc = bias[o] + sum_i x[t,i] * w[o,i]   (C <= 66572 keeps it in int32; |bias| < 2^30)
 *   y int8 [T,O]   x int8 [T,C]   bias int32   mult, shift int32 [O] if per_channel else [1] */
void tt_linear_s8(int8_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                  const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                  const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                  int32_t O, int32_t per_channel);

/* The same with an int16 result, clamped to +-32767: logits. */
void tt_linear_s16(int16_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                   const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                   const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                   int32_t O, int32_t per_channel);

/* tt_linear_s8 of one token with a weight that is laid out for it (tinytrain/ops/packed.py): groups of
 * four rows, in each four columns of row 0, 1, 2, 3, then the next four; of two columns the even one
 * is the low byte l and both together are the int16 h = 256 * odd + even.
 *   w int8 [O,C], O a multiple of 4, C of 8   mult, shift int32 [1]   C <= 520: 256 * acc in int32 */
void tt_linear_packed_s8(int8_t *y, const int8_t *x, const int8_t *w, const int32_t *b,
                         const int32_t *mult, const int32_t *shift, int32_t *scratch, int32_t room,
                         int32_t C, int32_t O);

/* Input gradient: row t of acc[t,i] = sum_o g[t,o] * w[o,i] as int8 by the smallest shift that fits,
 * with stochastic rounding; gx_exp[t] = g_exp[t] + shift + exp_add, TT_ZERO_EXPONENT where all acc of
 * the row are 0.   g int8 [T,O]   gx int8 [T,C]   exponents int16 [T], gx_exp may be g_exp
 *   scratch: int32 [min(T,2),C]   O <= 66572 keeps |acc| < 2^30
 * Element (t,i) draws number (st->row + t) * C + i of the stream. */
void tt_linear_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                     const int8_t *w, const int8_t *wt, const int16_t *rows, int32_t *scratch,
                     const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t O,
                     int32_t exp_add, int32_t stream);

#endif
