/* Tokens: average, choose, look up, reorder and join them; their gradients.
 *
 * Letters: T tokens, C channels, V table rows. All matrices row-major. No outputs may alias inputs,
 * none needs scratch. Kernels that only move codes round nothing. Gradients have an exponent for each
 * row, gx_exp and g_exp int16, which moves with it.
 *
 * Reference: tinytrain/ops/tokens.py, bit for bit.
 */
#ifndef TT_TOKENS_H
#define TT_TOKENS_H

#include "tinytrain/tt_math.h"

/* y[0,i] = clamp((acc * mult + 2^(shift-1)) >> shift, +-127), acc = sum_t x[t,i]
 *   y int8 [1,C]   x int8 [T,C]   mult * 2^-shift = s_x / (T * s_y) */
void tt_mean_tokens_s8(int8_t *y, const int8_t *x, int32_t T, int32_t C, int32_t mult,
                       int32_t shift);

/* Gradient of the mean: gx[t,i] = g[0,i], gx_exp[t] = g_exp[0]; the 1/T is in its scale.
 *   gx int8 [T,C]   g int8 [1,C] */
void tt_broadcast_tokens_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                            int32_t T, int32_t C);

/* y[0,i] = x[index,i]   y int8 [1,C] */
void tt_select_token_s8(int8_t *y, const int8_t *x, int32_t C, int32_t index);

/* Gradient of the choice: gx[index,i] = g[0,i], gx_exp[index] = g_exp[0]; all others are 0 and
 * TT_ZERO_EXPONENT.   gx int8 [T,C]   g int8 [1,C] */
void tt_scatter_token_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                         int32_t T, int32_t C, int32_t index);

/* y[t,i] = table[min(ids[t], V-1), i]   ids uint8 [T] if id_bytes is 1, uint16 [T] if 2
 *   y int8 [T,C]   table int8 [V,C] */
void tt_embedding_s8(int8_t *y, const void *ids, const int8_t *table, int32_t T, int32_t C,
                     int32_t V, int32_t id_bytes);

/* y[i[a0],i[a1],i[a2],i[a3]] = x[i0,i1,i2,i3]: axis k of y is axis ak of x.
 *   x int8 [n0,n1,n2,n3] (smaller ranks have leading ones)   a0..a3 a permutation of 0..3 */
void tt_permute_s8(int8_t *y, const int8_t *x, int32_t n0, int32_t n1, int32_t n2, int32_t n3,
                   int32_t a0, int32_t a1, int32_t a2, int32_t a3);

/* y[t,i] = clamp((v * m + 2^(shift-1)) >> shift, +-127), v, m = a[t,i], ma for t < T1,
 * else b[t-T1,i], mb.   y int8 [T1+T2,C]   ma, mb in [0, 2^15), shift in [1, 30] */
void tt_concat_tokens_s8(int8_t *y, const int8_t *a, const int8_t *b, int32_t T1, int32_t T2,
                         int32_t C, int32_t ma, int32_t mb, int32_t shift);

/* Gradient of a part: gx[t,i] = g[first+t,i], gx_exp[t] = g_exp[first+t]   gx int8 [count,C] */
void tt_slice_tokens_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        int32_t C, int32_t first, int32_t count);

#endif
