/* Gradients of attention. Letters and layouts: tt_attention.h. Reference:
 * tinytrain/ops/attention_grad.py and attention_fused.py, bit for bit.
 *
 * Gradients are int8 with one exponent a row: g_exp and the exponents of q, k and v are int16 [T],
 * those of the scores int16 [H,T]; all-zero rows have TT_ZERO_EXPONENT. "Quantized": int8 by the
 * smallest shift that fits, with stochastic rounding; the exponent grows by the shift and exp_add.
 * "Brought to E": shifted by E less its own exponent, with stochastic rounding. Element [i,c] draws
 * number i*C + c of a stream, element [h,i,j] number (h*T + i)*T + j.
 */
#ifndef TT_ATTENTION_GRAD_H
#define TT_ATTENTION_GRAD_H

#include "tinytrain/tt_math.h"

/* Gradient of the scores (before the softmax), from the gradient g of y:
 * d[j] = sum_c g[i,c] * v[j,c];  r = sum_j p[i,j] * d[j];
 * acc[i,j] = p[i,j] * ((255 * d[j] - r + 128) >> 8), each row of each head quantized.
 * p must come from tt_attention_probs_u8, whose rows sum to 255 + T/2 at most;
 * ops/attention_grad.py derives from that the C/H and T that keep all in int32 (C/H = 64: T <= 680).
 *   gs int8 [H,T,T]   scratch: int32 [T] */
void tt_attention_ds_s8(int8_t *gs, int16_t *gs_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *v, const uint8_t *p, void *scratch, const tt_step *st,
                        int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
                        int32_t exp_add, int32_t stream);

/* Gradient of the queries from that of the scores: acc[i,c] = sum_j gs[h,i,j] * k[j,c], each head
 * of a row quantized (stream), then brought to the largest exponent of the row's heads
 * (stream_heads).   scratch: int32 [C/H], int16 [H]   T <= 66572 */
void tt_attention_dq_s8(int8_t *gq, int16_t *gq_exp, const int8_t *gs, const int16_t *gs_exp,
                        const int8_t *k, void *scratch, const tt_step *st, int32_t room, int32_t T,
                        int32_t C, int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                        int32_t stream_heads);

/* Gradient of the keys: the rows of gs of a head brought to the largest of their exponents
 * (stream_rows), then acc[j,c] = sum_i gs[h,i,j] * q[i,c] as above.
 *   scratch: int32 [C/H], int16 [2,H], int8 [T]   T <= 66572 */
void tt_attention_dk_s8(int8_t *gk, int16_t *gk_exp, const int8_t *gs, const int16_t *gs_exp,
                        const int8_t *q, void *scratch, const tt_step *st, int32_t room, int32_t T,
                        int32_t C, int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                        int32_t stream_heads, int32_t stream_rows);

/* Gradient of the values: the rows of g brought to the largest exponent (stream_rows), then
 * acc[j,c] = sum_i p[h,i,j] * g[i,c] as above.
 *   scratch: int32 [C/H], int16 [T,H], int8 [T,C/H] and [T]   T <= 33155 */
void tt_attention_dv_s8(int8_t *gv, int16_t *gv_exp, const int8_t *g, const int16_t *g_exp,
                        const uint8_t *p, void *scratch, const tt_step *st, int32_t room, int32_t T,
                        int32_t C, int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                        int32_t stream_heads, int32_t stream_rows);

/* All of these from q, k, v and g, the same numbers without p and gs: both are made for one head and
 * `keys` of its columns (1 .. T) at a time. With keys < T a first pass over the rows finds the sums
 * and exponents of each, and p and gs are made again for each block of columns. Outputs are wanted in
 * pairs; NULL: not wanted. gq may share the bytes of g or q, gk those of k, gv those of v. mult and
 * shift: of tt_attention_probs_u8; ds_, dq_, dk_, dv_: of the functions above.
 *   scratch: ops/attention_fused.py, _grad_scratch */
void tt_attention_grad_s8(int8_t *gq, int16_t *gq_exp, int8_t *gk, int16_t *gk_exp, int8_t *gv,
                          int16_t *gv_exp, const int8_t *g, const int16_t *g_exp, const int8_t *q,
                          const int8_t *k, const int8_t *v, void *scratch, const tt_step *st,
                          int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
                          int32_t keys, int32_t mult, int32_t shift, int32_t ds_exp_add,
                          int32_t ds_stream, int32_t dq_exp_add, int32_t dq_stream,
                          int32_t dq_stream_heads, int32_t dk_exp_add, int32_t dk_stream,
                          int32_t dk_stream_heads, int32_t dk_stream_rows, int32_t dv_exp_add,
                          int32_t dv_stream, int32_t dv_stream_heads, int32_t dv_stream_rows);

#endif
