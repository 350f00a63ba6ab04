/* Sequence pooling: the mean of all tokens, weighted by the softmax of one score a token.
 *
 * Letters: T tokens, C channels. a int8 [T], x int8 [T,C]. Weights, worth 2^-15 a step:
 * d = min(4095, round((max a - a[t]) * mult * 2^-shift)) parts of 256 of a nat;
 * e = (tt_exp16[d >> 4] * tt_exp256[d & 15] + 2^14) >> 15;
 * rec = floor(2^47 / sum e);  p = (e * rec + 2^31) >> 32 <= 2^15, for rec <= 2^47 / 65535 < 2^32;
 * T <= 65537 keeps sum e in uint32. Nothing may alias.
 *
 * Reference: tinytrain/ops/pool.py, bit for bit. SeqPool: Hassani et al. 2021.
 */
#ifndef TT_POOL_H
#define TT_POOL_H

#include "tinytrain/tt_math.h"

/* y[c] = clamp((acc * y_mult + 2^(y_shift-1)) >> y_shift, +-127),  acc = sum_t p[t] * x[t,c]
 *   y int8 [1,C]   scratch: int32 [T] */
void tt_sequence_pool_s8(int8_t *y, const int8_t *x, const int8_t *a, int32_t *scratch, int32_t T,
                         int32_t C, int32_t mult, int32_t shift, int32_t y_mult, int32_t y_shift);

/* Gradient of the tokens, from the gradient g of y: acc[t,c] = p[t] * g[c], each row as int8 with
 * an exponent of its own.   gx int8 [T,C]   gx_exp int16 [T]   g int8 [1,C]   g_exp int16 [1]
 *   scratch: int32 [T + C] */
void tt_sequence_pool_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                            const int8_t *a, int32_t *scratch, const tt_step *st, int32_t T,
                            int32_t C, int32_t mult, int32_t shift, int32_t exp_add,
                            int32_t stream);

/* Gradient of the scores: d[t] = sum_c g[c] * x[t,c];  r = sum_t p[t] * d[t];
 * acc[t] = (p[t] * (d[t] * sum p - r) + 2^(fraction-1)) >> fraction in int64, each as int8 with an
 * exponent of its own; ops/pool.py chooses the fraction that keeps |acc| < 2^30.
 *   ga int8 [T,1]   ga_exp int16 [T]   scratch: int32 [2 T]   C <= 66572 */
void tt_sequence_pool_da_s8(int8_t *ga, int16_t *ga_exp, const int8_t *g, const int16_t *g_exp,
                            const int8_t *x, const int8_t *a, int32_t *scratch, const tt_step *st,
                            int32_t T, int32_t C, int32_t mult, int32_t shift, int32_t fraction,
                            int32_t exp_add, int32_t stream);

#endif
