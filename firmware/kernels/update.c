#include "small.h"

#include "tinytrain/tt_update.h"

#include "products.h"
#include "step.h"

/* eta * 2^E / sqrt(V); nothing before the first moment is known. */
static tt_multiplier lsb_rate(float eta, int32_t exponent, float moment) {
    return tt_float_multiplier(moment > 0.0f ? (eta * tt_pow2f(exponent)) / tt_sqrtf(moment)
                                             : 0.0f);
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
    const float unit = has_fraction(fraction) ? 256.0f : 65536.0f;
    tt_weight_step s = {.eta = st->learning_rate * unit,
                        .rate = {0, 0},
                        .limit = 254 * (int32_t)unit,
                        .exponent = exponent,
                        .key = tt_key(st, stream),
                        .count = 0,
                        .squares = 0};
    if (has_moment(moment)) {
        s.rate = lsb_rate(s.eta, exponent, moment[0]);
        s.limit = (int32_t)(8.0f * s.eta);
    }
    return s;
}

void tt_weight_step_end(const tt_weight_step *s, float *moment, float beta) {
    if (has_moment(moment)) {
        next_moment(moment, s->squares, s->count, s->exponent, beta);
    }
}

void tt_weight_step_s8(int8_t *w, int8_t *fraction, float *moment, const int32_t *acc,
                       const int16_t *acc_exp, const float *coefs, const tt_step *st, int32_t C,
                       int32_t O, int32_t per_channel, int32_t stream) {
    tt_weight_step s = tt_weight_step_begin(st, fraction, moment, acc_exp[0], stream);
    if (has_moment(moment)) {
        tt_weight_step_row(&s, w, fraction, acc, O * C, NULL);
    } else {
        for (int32_t o = 0; o < O; o++) {
            tt_weight_step_row(&s, w, fraction, acc + o * C, C, coefs + (per_channel ? o : 0));
        }
    }
    tt_weight_step_end(&s, moment, st->beta);
}

void tt_linear_bias_update_s32(int32_t *b, float *moment, const int8_t *g, const int16_t *g_exp,
                               const float *coefs, const int16_t *rows, const tt_step *st,
                               int32_t T, int32_t O, int32_t per_channel, float unit) {
    tt_multiplier rate = {0, 0};
    int32_t limit = 1 << 24;
    if (has_moment(moment)) {
        const float eta = st->learning_rate * unit;
        const float widest = 8.0f * eta;
        rate = lsb_rate(eta, g_exp[0], moment[0]);
        limit = widest < 16777216.0f ? (int32_t)widest : limit;
    }
    uint64_t squares = 0;
    int32_t trained = 0, from = 0, next = 0, sums[4];
    for (int32_t o = 0; o < O; o++) {
        if (!trains(rows, o)) {
            continue;
        }
        if (!has_moment(moment)) {
            rate = sgd_rate(st->learning_rate, coefs[TT_USES_PER_CHANNEL && per_channel ? o : 0],
                            g_exp[0]);
        }
        if (o >= next) {
            from = o;
            next = o + tt_bias_sums(sums, g + o, T, O, O - o);
        }
        const int32_t acc = sums[o - from];
        squares += (uint64_t)((int64_t)acc * acc);
        /* What was written from outside may lie beyond what an update leaves. */
        const int32_t before = tt_clamp(b[trained], (1 << 30) - 1);
        b[trained] = tt_clamp(before - tt_apply_multiplier(acc, rate, limit), (1 << 30) - 1);
        trained++;
    }
    if (has_moment(moment)) {
        next_moment(moment, squares, trained, g_exp[0], st->beta);
    }
}
