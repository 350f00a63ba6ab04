/* LayerNorm without gain and bias (the compiler folds them), and its gradient.
 *
 * Letters: T tokens, C channels <= 1024. All matrices row-major.
 * Reference: tinytrain/ops/norm.py, bit for bit. Ba, Kiros, Hinton 2016, equations 3 and 4.
 */
#ifndef TT_NORM_H
#define TT_NORM_H

#include "tinytrain/tt_math.h"

/* A row: S = sum x, V = C * sum x^2 - S^2 + eps, r = min((k << k_shift) / isqrt(V << 24), 2^31-1),
 * y = clamp(((C*x - S) * r + 2^(shift-1)) >> shift, +-127)
 *   y, x int8 [T,C]   r uint32 [T]: 2^shift / (s_y * sqrt(V)), kept for the gradient
 *   eps in [1, 2^31): eps * C^2 / s_x^2   k in [2^30, 2^31), k << k_shift = 2^(shift+12) / s_y < 2^60
 * y may be x. One square root and one division a row; an element costs a product of 32 x 32 bits. */
void tt_layernorm_s8(int8_t *y, uint32_t *r, const int8_t *x, int32_t T, int32_t C, int32_t eps,
                     int32_t k, int32_t k_shift, int32_t shift);

/* Input gradient, from dx = (g - mean(g) - y * mean(g * y)) / std (real values). A row:
 * u = (sum(g*y) * mult + 2^(shift-1)) >> shift   (the fraction: s_y^2 * 2^fraction),
 * val = (C*g - sum g) * 2^fraction - y*u,   acc = val * r   (of 62 bits),
 * then into int8 like tt_quantize_row; gx_exp[t] = g_exp[t] + (all that it is shifted by) + exp_add.
 *   gx, g, y int8 [T,C]   gx_exp, g_exp int16 [T]   r uint32 [T], < 2^31
 * |val| < 2^30 for any g and y by the compiler's choice of fraction: 2^fraction * C *
 * (254 + 127^3 * s_y^2) + 64 < 2^30. gx may be g or y, gx_exp g_exp. */
void tt_layernorm_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *y, const uint32_t *r, const tt_step *st, int32_t T, int32_t C,
                        int32_t mult, int32_t shift, int32_t fraction, int32_t exp_add,
                        int32_t stream);

#endif
