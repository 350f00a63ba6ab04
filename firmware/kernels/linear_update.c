#include "tinytrain/tt_update.h"

#include "products.h"

static void clear(int32_t *acc, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        acc[i] = 0;
    }
}

void tt_linear_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                         const int16_t *g_exp, const int8_t *x, const float *coefs,
                         const int16_t *rows, int32_t *scratch, const tt_step *st, int32_t room,
                         int32_t T, int32_t C, int32_t O, int32_t per_channel, int32_t stream) {
    (void)room;
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
