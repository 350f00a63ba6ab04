#include "step.h"
#include "tinytrain/tt_rows.h"

/* delta = clamp(round-half-up(acc * rate)) from the upper word of (acc << left) * mult. */
typedef struct {
    int32_t left, mult, down, limit;
} word_rate;

/* Whether the rate has this form for these sums: not where it is 2^-33 or less, or so large that they
 * leave no bits for a shift. */
static int word_rate_of(word_rate *r, const tt_weight_step *s, const int32_t *acc, int32_t C) {
    /* mult < 2^24 becomes mult < 2^31; a rate of 0 has any shift */
    const int32_t shift = s->rate.m == 0 ? 33 : s->rate.shift + 7;
    const int32_t left = shift < 33 ? 33 - shift : 0;
    *r = (word_rate){left, s->rate.m << 7, shift + left - 32, s->limit};
    return shift <= 62 &&
           (left == 0 || (left <= 8 && tt_bit_length((uint32_t)tt_peak(acc, C)) + left <= 31));
}

static inline int32_t word_delta(int32_t acc, const word_rate *r) {
    const int32_t high = tt_multiply_high((int32_t)((uint32_t)acc << r->left), r->mult);
    return tt_clamp((high + (1 << (r->down - 1))) >> r->down, r->limit);
}

static inline int8_t moved(int32_t w, int32_t delta, uint32_t noise) {
    return (int8_t)tt_clamp((w * 65536 - delta + (int32_t)noise) >> 16, 127);
}

/* Weights that draw whole pairs of numbers; gives how many. */
static int32_t step_pairs(tt_weight_step *s, int8_t *w, const int32_t *acc, int32_t C,
                          const word_rate *rate) {
    uint32_t number = s->key + ((uint32_t)s->count >> 1) * TT_GOLDEN;
    uint64_t squares = s->squares;
    int32_t i = 0;
    for (; i + 1 < C; i += 2, number += TT_GOLDEN) {
        const uint32_t random = tt_mix(number);
        const int32_t a = acc[i], b = acc[i + 1];
        squares += (uint64_t)((int64_t)a * a);
        squares += (uint64_t)((int64_t)b * b);
        w[i] = moved(w[i], word_delta(a, rate), random & 0xFFFFu);
        w[i + 1] = moved(w[i + 1], word_delta(b, rate), random >> 16);
    }
    s->squares = squares;
    return i;
}

void tt_weight_step_row(tt_weight_step *s, int8_t *w, int8_t *fraction, const int32_t *acc,
                        int32_t C, const float *coef) {
    if (TT_USES_SGD && coef != NULL) {
        s->rate = sgd_rate(s->eta, coef[0], s->exponent);
    }
    const tt_multiplier rate = s->rate;
    const int32_t first = s->count;
    word_rate words;
    int32_t i = 0;
    if (!has_fraction(fraction) && (first & 1) == 0 && word_rate_of(&words, s, acc, C)) {
        i = step_pairs(s, w + first, acc, C, &words);
    }
    for (; i < C; i++) {
        const int32_t at = first + i;
        const int32_t delta = tt_apply_multiplier(acc[i], rate, s->limit);
        s->squares += (uint64_t)((int64_t)acc[i] * acc[i]);
        if (has_fraction(fraction)) {
            step_wide(w + at, fraction + at, delta);
        } else {
            w[at] = moved(w[at], delta, (uint32_t)tt_random16(s->key, (uint32_t)at));
        }
    }
    s->count += C;
}
