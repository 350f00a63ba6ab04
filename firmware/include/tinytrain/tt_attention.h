/* Attention: probabilities, their product with the values, and the gradients of both.
 *
 * Letters: T tokens, C channels of all heads, H heads of C/H channels each. Head h is the columns
 * h*C/H .. (h+1)*C/H - 1 of q, k, v, y and their gradients, all int8 [T,C] row-major. p is uint8
 * [H,T,T], worth 1/255 a step; causal: row i counts only j <= i, p[h,i,j] = 0 beyond. Nothing may
 * alias.
 *
 * Reference: tinytrain/ops/attention.py, bit for bit. The forward meaning: Vaswani et al. 2017,
 * eq. 1. Softmax from an integer table: DESIGN.md, numerics.
 */
#ifndef TT_ATTENTION_H
#define TT_ATTENTION_H

#include "tinytrain/tt_math.h"

/* a[j] = sum_c q[i,c] * k[j,c];  t = min(255, round((max a - a[j]) * mult * 2^-shift)) sixteenths
 * of a nat;  e = tt_exp16[t];  rec = (255 << 24) / sum e;  p = (e * rec + 2^23) >> 24.
 * uint32 holds it: e * rec <= sum * rec <= 255 * 2^24, and 255 * 2^24 + 2^23 < 2^32, so p <= 255.
 * The largest e is 65535, so the sum is not 0; T <= 65537 keeps it in uint32.
 * C/H <= 66572 keeps max a - a[j] in int32.   scratch: int32 [T] */
void tt_attention_probs_u8(uint8_t *p, const int8_t *q, const int8_t *k, int32_t *scratch,
                           int32_t T, int32_t C, int32_t H, int32_t causal, int32_t mult,
                           int32_t shift);

/* y[i,c] = clamp((acc * mult + 2^(shift-1)) >> shift, +-127),  acc = sum_j p[h,i,j] * v[j,c]
 * (T <= 66311 keeps acc in int32) */
void tt_attention_mix_s8(int8_t *y, const uint8_t *p, const int8_t *v, int32_t T, int32_t C,
                         int32_t H, int32_t causal, int32_t mult, int32_t shift);

/* Gradient of the values: acc[j,c] = sum_i p[h,i,j] * g[i,c] as int8 with stochastic rounding;
 * gv_exp[0] = g_exp[0] + shift + exp_add.   scratch: int32 [T,C]   T <= 33155 */
void tt_attention_dv_s8(int8_t *gv, int32_t *gv_exp, const int8_t *g, const int32_t *g_exp,
                        const uint8_t *p, int32_t *scratch, const tt_step *st, int32_t T, int32_t C,
                        int32_t H, int32_t causal, int32_t exp_add, int32_t stream);

/* Gradient of the scores (before the softmax), from the gradient g of y:
 * d[j] = sum_c g[i,c] * v[j,c];  r = sum_j p[i,j] * d[j];
 * acc[i,j] = p[i,j] * ((255 * d[j] - r + 128) >> 8), as int8 with stochastic rounding, each head
 * with its own shift; gs_exp[h] = g_exp[0] + shift_h + exp_add. Element numbers run over [H,T,T].
 * p must come from tt_attention_probs_u8, whose rows sum to 255 + T/2 at most; ops/attention.py
 * derives from that the C/H and T that keep all in int32 (C/H = 64: T <= 680).
 *   gs int8 [H,T,T]   gs_exp int32 [H]   scratch: int32 [T,T] */
void tt_attention_ds_s8(int8_t *gs, int32_t *gs_exp, const int8_t *g, const int32_t *g_exp,
                        const int8_t *v, const uint8_t *p, int32_t *scratch, const tt_step *st,
                        int32_t T, int32_t C, int32_t H, int32_t causal, int32_t exp_add,
                        int32_t stream);

/* Gradient of the queries from that of the scores: acc[i,c] = sum_j gs[h,i,j] * k[j,c].
 * The heads' exponents differ, so the result has the largest that a head needs,
 * E = max_h(gs_exp[h] + shift that fits head h), and head h is shifted by min(31, E - gs_exp[h])
 * with stochastic rounding; heads whose acc is all zero do not count (if none does, E is the
 * largest gs_exp). gq_exp[0] = E + exp_add.   scratch: int32 [T,C]   T <= 66572 */
void tt_attention_dq_s8(int8_t *gq, int32_t *gq_exp, const int8_t *gs, const int32_t *gs_exp,
                        const int8_t *k, int32_t *scratch, const tt_step *st, int32_t T, int32_t C,
                        int32_t H, int32_t causal, int32_t exp_add, int32_t stream);

/* Gradient of the keys: acc[j,c] = sum_i gs[h,i,j] * q[i,c], the rest as above. */
void tt_attention_dk_s8(int8_t *gk, int32_t *gk_exp, const int8_t *gs, const int32_t *gs_exp,
                        const int8_t *q, int32_t *scratch, const tt_step *st, int32_t T, int32_t C,
                        int32_t H, int32_t causal, int32_t exp_add, int32_t stream);

#endif
