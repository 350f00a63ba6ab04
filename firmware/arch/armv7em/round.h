/* Rounding of several elements a turn, what more than one kernel needs of it. number: what the first
 * pair's tt_mix is of; turns of four, turns > 0. */
#ifndef TT_ROUND_H
#define TT_ROUND_H

#include "tinytrain/tt_math.h"

/* Turns in r become rounds of two from 1: to the loop's end, of which the first, where turns are odd,
 * begins in the middle, at 2:. */
#define ROUNDS(r)             \
    "add " r ", " r ", #1\n"  \
    "lsrs " r ", " r ", #1\n" \
    "bcc 2f\n"

/* out = floor(acc * factor * 2^-48 + u), saturated to +-127; less: -factor. |acc * factor| < 2^55. */
void tt_round_products(int8_t *out, const int32_t *acc, uint32_t number, int32_t turns,
                       int32_t less);

/* tt_round_row, shift in [1, 30]. */
void tt_round_fours(int8_t *out, const int32_t *acc, uint32_t number, int32_t turns, int32_t shift);

/* tt_quantize_row, base_bits: base * 64 + the bits of the largest |acc|, where -2^n counts as 2^n - 1:
 * usat16, which rounds fours of a row, has then cut something off and set Q. 0 bits: not known. */
int16_t tt_quantize_roughly(int8_t *out, const int32_t *acc, int32_t n, int32_t base_bits,
                            uint32_t key, uint32_t first);

#endif
