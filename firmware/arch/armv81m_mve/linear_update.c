#include "dot.h"
#include "fast_step.h"
#include "products.h"
#include "transpose.h"
#include "weighted.h"

#define FEW_ROWS 8 /* fewer do not repay turning x over */

typedef struct {
    tt_weight_step step;
    int8_t *w, *fraction;
    const float *coefs; /* NULL: the LSB-normalised step */
    int32_t T, C, per_channel;
} work;

static void step_row(work *k, const int32_t *acc, int32_t apart, int32_t o) {
    const float *coef = k->coefs ? k->coefs + (k->per_channel ? o : 0) : NULL;
    step_sums(&k->step, k->w, k->fraction, acc, apart, k->C, coef);
}

/* Two channels at a time, from x turned over. */
static void by_pairs(work *k, const int8_t *g, const int8_t *x, const int16_t *rows, int32_t *tiles,
                     int32_t O) {
    const int32_t T = k->T, C = k->C;
    int8_t *const g0 = (int8_t *)(tiles + tile_words(C)), *const panel = g0 + 2 * T;
    for (int32_t t = 0; t < T; t++) {
        put_column(panel + t, x + t * C, C, T);
    }
    for (int32_t o = 0; o < O;) {
        int32_t at[2], n = 0;
        for (; o < O && n < 2; o++) {
            if (trains(rows, o)) {
                take_column(g0 + n * T, g + o, T, O);
                at[n++] = o;
            }
        }
        if (n > 0) {
            dot_matrix(tiles, panel, g0, n == 2 ? g0 + T : g0, T, C);
        }
        for (int32_t r = 0; r < n; r++) {
            step_row(k, tiles + 2 * r, TILES, at[r]);
        }
    }
}

void tt_linear_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                         const int16_t *g_exp, const int8_t *x, const float *coefs,
                         const int16_t *rows, int32_t *scratch, const tt_step *st, int32_t room,
                         int32_t T, int32_t C, int32_t O, int32_t per_channel, int32_t stream) {
    work k = {
        .step = tt_weight_step_begin(st, fraction, moment, g_exp[0], stream),
        .w = w,
        .fraction = fraction,
        .coefs = moment != NULL ? NULL : coefs,
        .T = T,
        .C = C,
        .per_channel = per_channel,
    };
    const int32_t wanted = 4 * tile_words(C) + 2 * T + C * T;
    if (T >= FEW_ROWS && wanted <= room && T <= TRANSPOSE_REACH && O <= TRANSPOSE_REACH) {
        by_pairs(&k, g, x, rows, scratch, O);
    } else {
        const matrix inputs = {x, NULL, NULL, C};
        for (int32_t o = 0; o < O; o++) {
            if (trains(rows, o)) {
                weighted_rows(scratch, g + o, O, &inputs, T);
                step_row(&k, scratch, LINE, o);
            }
        }
    }
    tt_weight_step_end(&k.step, moment, st->beta);
}
