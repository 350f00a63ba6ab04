/* Elementwise: functions by table, addition, gain and bias a channel, and their gradients.
 *
 * Letters: T tokens (rows), C channels; count elements of any shape. All matrices row-major, int8 in
 * +-127.
 * Gradients: int8 [T,C] with an exponent for each row, gx_exp and g_exp int16 [T]; a row is brought
 * into int8 like tt_quantize_row, gx_exp[t] = g_exp[t] + (its shift) + exp_add. Products lie on the
 * stack, a part of a row at once (tt_rows.h), so none needs scratch. gx_exp may be g_exp.
 *
 * Reference: tinytrain/ops/elementwise.py, bit for bit. Fixed point: Jacob et al. 2018, section 2.2.
 */
#ifndef TT_ELEMENTWISE_H
#define TT_ELEMENTWISE_H

#include "tinytrain/tt_math.h"

/* y[i] = table[x[i] + 128]   table int8 [256].   y may be x. */
void tt_lut_s8(int8_t *y, const int8_t *x, const int8_t *table, int32_t count);

/* Gradient of a table function: acc[t,i] = g[t,i] * slope[x[t,i] + 128]   slope int8 [256]
 * gx may be g or x. */
void tt_lut_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                  const int8_t *x, const int8_t *slope, const tt_step *st, int32_t T, int32_t C,
                  int32_t exp_add, int32_t stream);

/* y[i] = clamp((a[i] * ma + b[i] * mb + 2^(shift-1)) >> shift, +-127)
 * ma, mb in [0, 2^15), shift in [1, 30].   y may be a or b. */
void tt_add_s8(int8_t *y, const int8_t *a, const int8_t *b, int32_t count, int32_t ma, int32_t mb,
               int32_t shift);

/* y[t,i] = clamp((x[t,i] * m[i] + c[i] + 2^(shift-1)) >> shift, +-127): gain and bias of a LayerNorm
 *   m int32 [C], |m| <= 2^22   c int32 [C], |c| <= 2^29   shift in [1, 29].   y may be x. */
void tt_affine_s8(int8_t *y, const int8_t *x, const int32_t *m, const int32_t *c, int32_t T,
                  int32_t C, int32_t shift);

/* A gradient times a factor for each channel: acc[t,i] = g[t,i] * m[i]   m int16 [C]
 * gx may be g. */
void tt_rescale_grad_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int16_t *m, const tt_step *st, int32_t T, int32_t C, int32_t exp_add,
                        int32_t stream);

/* One exponent for T rows: out[t] = e[0]   out int16 [T]   e int16 [1] */
void tt_repeat_exponent_s16(int16_t *out, const int16_t *e, int32_t T);

#endif
