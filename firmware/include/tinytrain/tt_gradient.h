/* Gradients between layers: where activations saturated, and the sum of two branches.
 *
 * Reference: tinytrain/ops/gradient.py, bit for bit.
 */
#ifndef TT_GRADIENT_H
#define TT_GRADIENT_H

#include "tinytrain/tt_math.h"

/* Bit i % 8 of bits[i / 8] is set where |y[i]| = 127: the value saturated. The last byte is padded
 * with zeros.   bits uint8 [(n+7)/8]   y int8 [n], not -128 */
void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t n);

/* out[i] = bit i set ? 0 : g[i].   int8 [n]; out may be g. */
void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t n);

/* Sum of two gradients a * 2^a_exp * s_a and b * 2^b_exp * s_b, where s_b / s_a = rho * 2^rho_e,
 * rho in [1/2, 1), rho_q14 = round(rho * 2^14). In units of 2^-14 s_a:
 *   a' = a * 2^14 with exponent a_exp,  b' = b * rho_q14 with exponent b_exp + rho_e,
 * E = the larger exponent of those that are not all zero (of both, if both are),
 * acc = (a' >> (E - a_exp)) + (b' >> (E - b_exp - rho_e)), a shift over 30 giving 0; |acc| < 2^22.
 * out = acc as int8 with stochastic rounding; out_exp[0] = E - 14 + shift. The real value is
 * out * 2^out_exp * s_a, for a' = a * 2^14 of exponent 0 must give a with shift 14 and exponent 0.
 *   a, b, out int8 [n]; out may be a or b. */
void tt_grad_add_s8(int8_t *out, int32_t *out_exp, const int8_t *a, const int32_t *a_exp,
                    const int8_t *b, const int32_t *b_exp, const tt_step *st, int32_t n,
                    int32_t rho_q14, int32_t rho_e, int32_t stream);

#endif
