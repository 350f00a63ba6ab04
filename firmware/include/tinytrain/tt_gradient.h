/* Gradients between layers: where activations saturated, the sum of two branches, and one exponent
 * for all rows.
 *
 * Letters: T rows, C elements in each. A gradient is int8 [T,C] with exponents int16 [T], one a row;
 * a row of zeros has TT_ZERO_EXPONENT, or what it had before something set it to zero.
 *
 * Reference: tinytrain/ops/gradient.py, bit for bit.
 */
#ifndef TT_GRADIENT_H
#define TT_GRADIENT_H

#include "tinytrain/tt_math.h"

/* Bit i % 8 of bits[t, i / 8] is set where |y[t,i]| = 127: the value saturated. The last byte of a
 * row is padded with zeros.   bits uint8 [T,(C+7)/8]   y int8 [T,C], not -128 */
void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t T, int32_t C);

/* out[t,i] = bit i of row t set ? 0 : g[t,i].   int8 [T,C]; out may be g. The exponents are those of
 * g, also where nothing of a row is left: that costs precision where another row or operand is
 * brought to the same exponent, and nothing else. */
void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t T, int32_t C);

/* Sum of two gradients a * 2^a_exp * s_a and b * 2^b_exp * s_b, where s_b / s_a = rho * 2^rho_e,
 * rho in [1/2, 1), rho_q14 = round(rho * 2^14). For each row, in units of 2^-14 s_a:
 *   a' = a * 2^14 with exponent a_exp,  b' = b * rho_q14 with exponent b_exp + rho_e,
 * E = the larger exponent,
 * acc = (a' >> (E - a_exp)) + (b' >> (E - b_exp - rho_e)), a shift over 30 giving 0; |acc| < 2^22.
 * out = acc as int8 with stochastic rounding; out_exp = E - 14 + shift, TT_ZERO_EXPONENT where all
 * acc of the row are 0. The real value is out * 2^out_exp * s_a, for a' = a * 2^14 of exponent 0 must
 * give a with shift 14 and exponent 0.
 *   a, b, out int8 [T,C]; out may be a or b   exponents int16 [T]; out_exp may be a_exp or b_exp
 * Element (t,i) draws number (st->row + t) * C + i of the stream. */
void tt_grad_add_s8(int8_t *out, int16_t *out_exp, const int8_t *a, const int16_t *a_exp,
                    const int8_t *b, const int16_t *b_exp, const tt_step *st, int32_t T, int32_t C,
                    int32_t rho_q14, int32_t rho_e, int32_t stream);

/* One exponent for all rows, the largest: out_exp[0] = max g_exp, out[t,i] = g[t,i] shifted by
 * out_exp[0] - g_exp[t] with stochastic rounding, a shift over 30 giving 0. What contracts over rows
 * reads this.   g, out int8 [T,C]; out may be g   g_exp int16 [T]   out_exp int16 [1]
 * All rows at once: element (t,i) draws number t * C + i of the stream. */
void tt_align_grad_s8(int8_t *out, int16_t *out_exp, const int8_t *g, const int16_t *g_exp,
                      const tt_step *st, int32_t T, int32_t C, int32_t stream);

#endif
