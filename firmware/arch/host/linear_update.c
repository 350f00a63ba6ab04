#include "product.h"
#include "tinytrain/tt_update.h"

/* The next trained rows from *o on, `most` at most. */
static int32_t choose(int32_t *chosen, const int16_t *rows, int32_t *o, int32_t O, int32_t most) {
    int32_t count = 0;
    for (; *o < O && count < most; ++*o) {
        if (rows == NULL || rows[*o] >= 0) {
            chosen[count++] = *o;
        }
    }
    return count;
}

/* acc[k,i] = sum_t g[t,chosen[k]] * x[t,i] */
static void gradient_block(int32_t *acc, const int32_t *chosen, int32_t count, const int8_t *g,
                           const int8_t *x, int32_t T, int32_t C, int32_t O) {
    tt_left left;
    tt_right right;
    int8_t columns[TT_BLOCK_DEPTH * TT_BLOCK_ROWS];
    memset(acc, 0, (size_t)(count * C) * sizeof *acc);
    for (int32_t t = 0; t < T; t += TT_BLOCK_DEPTH) {
        const int32_t depth = tt_least(T - t, TT_BLOCK_DEPTH);
        for (int32_t r = 0; r < depth; r++) {
            for (int32_t k = 0; k < count; k++) {
                columns[r * count + k] = g[(t + r) * O + chosen[k]];
            }
        }
        tt_left_columns(&left, columns, count, count, depth, 128);
        for (int32_t i = 0; i < C; i += TT_BLOCK_COLUMNS) {
            const int32_t n = tt_least(C - i, TT_BLOCK_COLUMNS);
            const int8_t *list[TT_BLOCK_DEPTH];
            tt_row_list(list, x + t * C + i, C, depth);
            tt_right_columns(&right, list, n, depth);
            tt_product(acc + i, C, &left, &right, count, n, depth);
        }
    }
}

void tt_linear_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                         const int16_t *g_exp, const int8_t *x, const float *coefs,
                         const int16_t *rows, int32_t *scratch, const tt_step *st, int32_t room,
                         int32_t T, int32_t C, int32_t O, int32_t per_channel, int32_t stream) {
    (void)room;
    tt_weight_step s = tt_weight_step_begin(st, fraction, moment, g_exp[0], stream);
    int32_t held[TT_HELD], chosen[TT_BLOCK_ROWS];
    int32_t *acc = C <= TT_HELD ? held : scratch;
    const int32_t most = C <= TT_HELD ? tt_least(TT_BLOCK_ROWS, TT_HELD / C) : 1;
    for (int32_t o = 0, count; (count = choose(chosen, rows, &o, O, most)) > 0;) {
        gradient_block(acc, chosen, count, g, x, T, C, O);
        for (int32_t k = 0; k < count; k++) {
            const float *coef = moment != NULL ? NULL : coefs + (per_channel ? chosen[k] : 0);
            tt_weight_step_row(&s, w, fraction, acc + k * C, C, coef);
        }
    }
    tt_weight_step_end(&s, moment, st->beta);
}
