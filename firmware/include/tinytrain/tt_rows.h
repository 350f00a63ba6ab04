/* Rows of accumulators -> int8 by the smallest shift that fits, with stochastic rounding: what all
 * kernels share that make gradients. tinytrain/ir/numerics.py, quantize_rows, is the same in numpy.
 */
#ifndef TT_ROWS_H
#define TT_ROWS_H

#include "tinytrain/tt_math.h"

/* Accumulators that are made at once, on the stack; even, so that parts begin where pairs of numbers
 * do. */
#if UINTPTR_MAX > UINT32_MAX
#define TT_ROW_PART 256
#else
#define TT_ROW_PART 64
#endif

/* A number with as many bits as the largest |acc|, 0 only where all are. |acc| < 2^31. */
int32_t tt_peak(const int32_t *acc, int32_t n);

/* out[i] = tt_stochastic_shift(acc[i], shift, key, first + i), |acc| < 2^min(7 + shift, 30). out may
 * share its first bytes with acc. */
void tt_round_row(int8_t *out, const int32_t *acc, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first);

/* Accumulators from, ..., from + n - 1 of a row; n <= TT_ROW_PART. */
typedef void (*tt_row_maker)(int32_t *acc, const void *row, int32_t from, int32_t n);

/* tt_quantize_row of accumulators that are made in parts; all but the last part are made twice.
 * out may be what they are made of. */
int16_t tt_quantize_made(int8_t *out, tt_row_maker make, const void *row, int32_t n, int32_t base,
                         uint32_t key, uint32_t first);

#endif
