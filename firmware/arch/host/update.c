#include "tinytrain/tt_update.h"

#include "rows.h"

#define LAST_SHIFT 14 /* products are below 2^14: shifted by more, none is left */

static inline int trains(const int16_t *rows, int32_t o) {
    return rows == NULL || rows[o] >= 0;
}

/* eta * 2^E / sqrt(V); nothing before the first moment is known. */
static tt_multiplier lsb_rate(float eta, int32_t exponent, float moment) {
    return tt_float_multiplier(moment > 0.0f ? (eta * tt_pow2f(exponent)) / tt_sqrtf(moment)
                                             : 0.0f);
}

static tt_multiplier sgd_rate(float eta, float coef, int32_t exponent) {
    return tt_float_multiplier((eta * coef) * tt_pow2f(exponent));
}

static void next_moment(float *moment, uint64_t squares, int32_t count, int32_t exponent,
                        float beta) {
    const float mean = tt_scaled_float(squares, 2 * exponent) / (float)count;
    if (moment[0] > 0.0f) {
        const float kept = beta * moment[0];
        const float fresh = (1.0f - beta) * mean;
        moment[0] = kept + fresh;
    } else {
        moment[0] = mean;
    }
}

tt_weight_step tt_weight_step_begin(const tt_step *st, const int8_t *fraction, const float *moment,
                                    int32_t exponent, int32_t stream) {
    const float unit = fraction != NULL ? 256.0f : 65536.0f;
    tt_weight_step s = {.eta = st->learning_rate * unit,
                        .rate = {0, 0},
                        .limit = 254 * (int32_t)unit,
                        .exponent = exponent,
                        .key = tt_key(st, stream),
                        .count = 0,
                        .squares = 0};
    if (moment != NULL) {
        s.rate = lsb_rate(s.eta, exponent, moment[0]);
        s.limit = (int32_t)(8.0f * s.eta);
    }
    return s;
}

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

void tt_weight_step_end(const tt_weight_step *s, float *moment, float beta) {
    if (moment != NULL) {
        next_moment(moment, s->squares, s->count, s->exponent, beta);
    }
}

/* values / 2^times, rounded half up; times > 0. */
static inline int32_t halved(int32_t value, int32_t times) {
    return times > 30 ? 0 : (value + (1 << (times - 1))) >> times;
}

/* acc[i] += u * x[i], halved so many times */
static void add_product(int32_t *restrict acc, int32_t u, const int8_t *restrict x, int32_t C,
                        int32_t shift) {
    if (shift <= 0) {
        for (int32_t i = 0; i < C; i++) {
            acc[i] += u * x[i];
        }
        return;
    }
    for (int32_t i = 0; i < C; i++) {
        acc[i] += halved(u * x[i], shift);
    }
}

void tt_weight_sums_s32(int32_t *acc, int16_t *acc_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *x, const tt_step *st, int32_t T, int32_t C, int32_t O) {
    int32_t top = st->row == 0 ? TT_ZERO_EXPONENT : acc_exp[0];
    if (st->row == 0) {
        memset(acc, 0, (size_t)(O * C) * sizeof *acc);
    }
    for (int32_t t = 0; t < T; t++) {
        const int32_t shift = top - g_exp[t];
        if (shift < 0) {
            for (int32_t i = 0; i < O * C; i++) {
                acc[i] = halved(acc[i], -shift);
            }
            top = g_exp[t];
        }
        for (int32_t o = 0; o < O && shift <= LAST_SHIFT; o++) {
            add_product(acc + o * C, g[t * O + o], x + t * C, C, shift);
        }
    }
    acc_exp[0] = (int16_t)top;
}

void tt_weight_step_s8(int8_t *w, int8_t *fraction, float *moment, const int32_t *acc,
                       const int16_t *acc_exp, const float *coefs, const tt_step *st, int32_t C,
                       int32_t O, int32_t per_channel, int32_t stream) {
    tt_weight_step s = tt_weight_step_begin(st, fraction, moment, acc_exp[0], stream);
    for (int32_t o = 0; o < O; o++) {
        const float *coef = moment != NULL ? NULL : coefs + (per_channel ? o : 0);
        tt_weight_step_row(&s, w, fraction, acc + o * C, C, coef);
    }
    tt_weight_step_end(&s, moment, st->beta);
}

void tt_linear_bias_update_s32(int32_t *b, float *moment, const int8_t *g, const int16_t *g_exp,
                               const float *coefs, const int16_t *rows, const tt_step *st,
                               int32_t T, int32_t O, int32_t per_channel, float unit) {
    tt_multiplier rate = {0, 0};
    int32_t limit = 1 << 24;
    if (moment != NULL) {
        const float eta = st->learning_rate * unit;
        const float widest = 8.0f * eta;
        rate = lsb_rate(eta, g_exp[0], moment[0]);
        limit = widest < 16777216.0f ? (int32_t)widest : limit;
    }
    uint64_t squares = 0;
    int32_t trained = 0;
    for (int32_t first = 0; first < O; first += TT_CHUNK) {
        const int32_t n = tt_least(O - first, TT_CHUNK);
        int32_t acc[TT_CHUNK] = {0};
        for (int32_t t = 0; t < T; t++) {
            for (int32_t i = 0; i < n; i++) {
                acc[i] += g[t * O + first + i];
            }
        }
        for (int32_t i = 0; i < n; i++) {
            if (!trains(rows, first + i)) {
                continue;
            }
            if (moment == NULL) {
                const float coef = coefs[per_channel ? first + i : 0];
                rate = sgd_rate(st->learning_rate, coef, g_exp[0]);
            }
            squares += (uint64_t)((int64_t)acc[i] * acc[i]);
            b[trained] =
                tt_clamp(b[trained] - tt_apply_multiplier(acc[i], rate, limit), (1 << 30) - 1);
            trained++;
        }
    }
    if (moment != NULL) {
        next_moment(moment, squares, trained, g_exp[0], st->beta);
    }
}
