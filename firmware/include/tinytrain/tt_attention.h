/* Attention: probabilities, their product with the values, and both in one.
 *
 * Letters: T tokens, C channels of all heads, H heads of C/H channels each. Head h is the columns
 * h*C/H .. (h+1)*C/H - 1 of q, k, v, y and their gradients, all int8 [T,C] row-major. p is uint8
 * [H,T,T], worth 1/255 a step; causal: row i counts only j <= i, p[h,i,j] = 0 beyond. Nothing may
 * alias but what is named. room: bytes at scratch, what is named there at least; results do not depend
 * on it.
 *
 * Reference: tinytrain/ops/attention*.py, bit for bit. The forward meaning: Vaswani et al. 2017,
 * eq. 1. Softmax from a table: docs/specification/numerics.md.
 */
#ifndef TT_ATTENTION_H
#define TT_ATTENTION_H

#include "tinytrain/tt_math.h"

/* a[j] = sum_c q[i,c] * k[j,c];  t = min(255, round((max a - a[j]) * mult * 2^-shift)) sixteenths
 * of a nat;  e = tt_exp16[t];  rec = (255 << 24) / sum e;  p = (e * rec + 2^23) >> 24.
 * uint32 holds it: e * rec <= sum * rec <= 255 * 2^24, and 255 * 2^24 + 2^23 < 2^32, so p <= 255.
 * The largest e is 65535, so the sum is not 0; T <= 65537 keeps it in uint32.
 * C/H <= 66572 keeps max a - a[j] in int32.   scratch: int32 [T] */
void tt_attention_probs_u8(uint8_t *p, const int8_t *q, const int8_t *k, void *scratch,
                           int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
                           int32_t mult, int32_t shift);

/* y[i,c] = clamp((acc * mult + 2^(shift-1)) >> shift, +-127),  acc = sum_j p[h,i,j] * v[j,c]
 * (T <= 66311 keeps acc in int32)   scratch: none is needed */
void tt_attention_mix_s8(int8_t *y, const uint8_t *p, const int8_t *v, void *scratch, int32_t room,
                         int32_t T, int32_t C, int32_t H, int32_t causal, int32_t mult,
                         int32_t shift);

/* Both, with one row of p at a time. y may share the bytes of q.   scratch: int32 [T] */
void tt_attention_s8(int8_t *y, const int8_t *q, const int8_t *k, const int8_t *v, void *scratch,
                     int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
                     int32_t score_mult, int32_t score_shift, int32_t mix_mult, int32_t mix_shift);

#endif
