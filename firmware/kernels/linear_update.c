#include "tinytrain/tt_update.h"

#include <stddef.h>

static inline int trains(const int16_t *rows, int32_t o) {
    return rows == NULL || rows[o] >= 0;
}

static void clear(int32_t *acc, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        acc[i] = 0;
    }
}

/* acc[i] += sum_t g[t,o] * x[t,i], from the left: each product is one multiply-accumulate. */
static void add_gradient_row(int32_t *restrict acc, const int8_t *restrict g,
                             const int8_t *restrict x, int32_t T, int32_t C, int32_t O, int32_t o) {
    int32_t t = 0;
    for (; t + 1 < T; t += 2) {
        const int32_t u = g[t * O + o], v = g[(t + 1) * O + o];
        const int8_t *restrict x0 = x + t * C;
        const int8_t *restrict x1 = x0 + C;
        for (int32_t i = 0; i < C; i++) {
            acc[i] = acc[i] + u * x0[i] + v * x1[i];
        }
    }
    if (t < T) {
        const int32_t u = g[t * O + o];
        for (int32_t i = 0; i < C; i++) {
            acc[i] += u * x[t * C + i];
        }
    }
}

void tt_linear_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                         const int16_t *g_exp, const int8_t *x, const float *coefs,
                         const int16_t *rows, int32_t *scratch, const tt_step *st, int32_t T,
                         int32_t C, int32_t O, int32_t per_channel, int32_t stream) {
    tt_weight_step s = tt_weight_step_begin(st, fraction, moment, g_exp[0], stream);
    for (int32_t o = 0; o < O; o++) {
        if (!trains(rows, o)) {
            continue;
        }
        clear(scratch, C);
        add_gradient_row(scratch, g, x, T, C, O, o);
        const float *coef = moment != NULL ? NULL : coefs + (per_channel ? o : 0);
        tt_weight_step_row(&s, w, fraction, scratch, C, coef);
    }
    tt_weight_step_end(&s, moment, st->beta);
}
