/* Cross entropy over int16 logits of the fixed scale 2^-8 nat, so that their differences index the
 * tables of exp without a multiplier.
 *
 * Letters: T rows, V classes (V <= 32767). Label -1, and any other that is not in 0 .. V-1: the row
 * does not count. With top = max_j a[j]:
 *   d = min(top - a[j], 4095);  e[j] = (exp16[d >> 4] * exp256[d & 15] + 2^14) >> 15 = 65535 exp(-d/256)
 * The top itself has e = 65535 exactly; from 11.8 nat on e is 0, so the cap changes nothing. The sum
 * stays below 2^31 for V <= 32767. e is off by less than 2, and by about 1/2 where it is small; the
 * loss of a row is off by less than 10^-3 nat for the V of some hundreds that is meant here.
 *
 * Reference: tinytrain/ops/loss.py, bit for bit.
 */
#ifndef TT_LOSS_H
#define TT_LOSS_H

#include "tinytrain/tt_math.h"

/* loss[t] = ln(sum e / 65535) + (top - a[label]) / 256, in nat * 2^16 (0 to 2^25);
 * verdict[t] = 1 where the first largest logit is the label's, else 0.
 * 0 and -1 in a row that does not count.
 *   loss int32 [T]   verdict int8 [T]   logits int16 [T,V]   labels int16 [T] */
void tt_row_loss_s16(int32_t *loss, int8_t *verdict, const int16_t *logits, const int16_t *labels,
                     int32_t T, int32_t V);

/* metrics[0] = sum of the losses, saturated at 2^31 - 1 (loss[t] >= 0);
 * metrics[1] = rows of verdict 1;  metrics[2] = rows of verdict 0 or 1.   metrics int32 [3] */
void tt_metrics_s32(int32_t *metrics, const int32_t *loss, const int8_t *verdict, int32_t T);

/* acc[t,j] = (e[j] * 2^15 + sum / 2) / sum - (j == label) * 2^15, 0 in a row that does not count, as
 * int8 by the smallest shift that fits the row, with stochastic rounding; g_exp[t] = shift + exp_add,
 * TT_ZERO_EXPONENT where all acc of the row are 0. e * 2^15 + sum / 2 < 2^32.
 *   g int8 [T,V]   g_exp int16 [T]
 * Element (t,j) draws number (st->row + t) * V + j of the stream. */
void tt_cross_entropy_grad_s16(int8_t *g, int16_t *g_exp, const int16_t *logits,
                               const int16_t *labels, const tt_step *st, int32_t T, int32_t V,
                               int32_t exp_add, int32_t stream);

#endif
