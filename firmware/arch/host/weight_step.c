#include "step.h"

#include "chunks.h"

/* delta[i] = tt_apply_multiplier(acc[i], f, limit) */
static void deltas(int32_t *restrict delta, const int32_t *restrict acc, int32_t n, tt_multiplier f,
                   int32_t limit) {
    if (f.shift <= 0 || f.shift > 62) {
        for (int32_t i = 0; i < n; i++) {
            delta[i] = tt_apply_multiplier(acc[i], f, limit);
        }
        return;
    }
    const int64_t half = (int64_t)1 << (f.shift - 1);
    for (int32_t i = 0; i < n; i++) {
        const int64_t wide = ((int64_t)acc[i] * f.m + half) >> f.shift;
        delta[i] = (int32_t)(wide > limit ? limit : (wide < -limit ? -limit : wide));
    }
}

/* The step of n <= TT_CHUNK weights, the first of them number `first`. */
static void step_chunk(int8_t *restrict w, int8_t *restrict fraction, const int32_t *restrict delta,
                       int32_t n, uint32_t key, uint32_t first) {
    if (fraction != NULL) {
        for (int32_t i = 0; i < n; i++) {
            const int32_t wide = tt_clamp(w[i] * 256 + fraction[i] - delta[i], 127 * 256);
            const int32_t whole = (wide + 128) >> 8;
            w[i] = (int8_t)whole;
            fraction[i] = (int8_t)(wide - whole * 256);
        }
        return;
    }
    tt_draws draws;
    tt_draw(&draws, key, first, n);
    const int32_t odd = (int32_t)(first & 1u);
    for (int32_t i = 0; i < n; i++) {
        const int32_t wide = w[i] * 65536 - delta[i] + draws.numbers[odd + i];
        w[i] = (int8_t)tt_clamp(wide >> 16, 127);
    }
}

void tt_weight_step_row(tt_weight_step *s, int8_t *w, int8_t *fraction, const int32_t *acc,
                        int32_t C, const float *coef) {
    if (coef != NULL) {
        s->rate = sgd_rate(s->eta, coef[0], s->exponent);
    }
    uint64_t squares = 0;
    for (int32_t i = 0; i < C; i++) {
        squares += (uint64_t)((int64_t)acc[i] * acc[i]);
    }
    for (int32_t i = 0; i < C; i += TT_CHUNK) {
        const int32_t n = tt_least(C - i, TT_CHUNK), at = s->count + i;
        int32_t delta[TT_CHUNK];
        deltas(delta, acc + i, n, s->rate, s->limit);
        step_chunk(w + at, fraction != NULL ? fraction + at : NULL, delta, n, s->key, (uint32_t)at);
    }
    s->squares += squares;
    s->count += C;
}
