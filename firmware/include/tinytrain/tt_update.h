/* Weight and bias updates of linear layers, fused with their gradient; the step of any weight.
 *
 * Letters: T tokens, C channels in, O channels out, K trained rows. rows[o] >= 0 is the trained row
 * of channel o; rows NULL: all O rows train, in order. g is an aligned gradient: int8 [T,O] with one
 * exponent E = g_exp[0] for all of its rows (tt_align_grad_s8).
 *
 * Reference: tinytrain/ops/update.py, bit for bit.
 */
#ifndef TT_UPDATE_H
#define TT_UPDATE_H

#include "tinytrain/tt_math.h"

/* The step of one weight, row by row: begin, then the accumulators of each trained row in order (of
 * several at once where coef is NULL), then end, which updates the moment. coef: the row's SGD
 * coefficient, NULL for the LSB-normalised step. */
typedef struct {
    float eta;
    tt_multiplier rate;
    int32_t limit;
    int32_t exponent;
    uint32_t key;
    int32_t count; /* weights so far */
    uint64_t squares;
} tt_weight_step;

tt_weight_step tt_weight_step_begin(const tt_step *st, const int8_t *fraction, const float *moment,
                                    int32_t exponent, int32_t stream);
void tt_weight_step_row(tt_weight_step *s, int8_t *w, int8_t *fraction, const int32_t *acc,
                        int32_t C, const float *coef);
void tt_weight_step_end(const tt_weight_step *s, float *moment, float beta);

/* Weight gradient acc[k,i] = sum_t g[t,o] * x[t,i] and the step, for the trained rows o of k.
 * moment not NULL: LSB-normalised step, delta = clamp(lr * 2^E * acc / sqrt(moment), +-8 lr) weight
 *   LSBs (none while moment is 0), then moment <- beta moment + (1-beta) mean((2^E acc)^2).
 * coefs not NULL: SGD, delta = lr * coefs[o] * 2^E * acc weight LSBs (QAS: Lin et al. 2022, eq. 4).
 * fraction NULL: w <- clamp(floor(w - delta + u), +-127), u random in [0,1).
 * fraction not NULL: 256 w + fraction <- clamp(it - round(256 delta), +-127*256).
 *   w, fraction int8 [K,C]   moment float [1]   coefs float [O] if per_channel else [1]
 *   scratch: int32 [C], room: bytes of it; see tt_linear.h */
void tt_linear_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                         const int16_t *g_exp, const int8_t *x, const float *coefs,
                         const int16_t *rows, int32_t *scratch, const tt_step *st, int32_t room,
                         int32_t T, int32_t C, int32_t O, int32_t per_channel, int32_t stream);

/* The same in two steps, for a g that has an exponent a row. First acc[o,i] = sum_t 2^(g_exp[t] - E)
 * g[t,o] x[t,i] with E = acc_exp[0], the largest exponent so far: as it rises, what is there is
 * shifted, otherwise the product; both rounded half up. Over the T rows of one call; begun anew
 * where st->row is 0, so that calls over blocks of rows give the sum over all.
 *   acc int32 [O,C]   acc_exp int16 [1] */
void tt_weight_sums_s32(int32_t *acc, int16_t *acc_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *x, const tt_step *st, int32_t T, int32_t C, int32_t O);

/* Then the step: all O rows train. */
void tt_weight_step_s8(int8_t *w, int8_t *fraction, float *moment, const int32_t *acc,
                       const int16_t *acc_exp, const float *coefs, const tt_step *st, int32_t C,
                       int32_t O, int32_t per_channel, int32_t stream);

/* Bias gradient acc[k] = sum_t g[t,o] and the step; unit: bias LSBs of one weight LSB (1 / s_x).
 * b <- clamp(b - delta, +-(2^30 - 1)), rounded half up; rules as above.   b int32 [K] */
void tt_linear_bias_update_s32(int32_t *b, float *moment, const int8_t *g, const int16_t *g_exp,
                               const float *coefs, const int16_t *rows, const tt_step *st,
                               int32_t T, int32_t O, int32_t per_channel, float unit);

#endif
