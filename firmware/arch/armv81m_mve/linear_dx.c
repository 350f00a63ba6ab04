#include "dot.h"
#include "quantize.h"
#include "tinytrain/tt_linear.h"
#include "transpose.h"
#include "weighted.h"

#define FEW_ROWS 3 /* fewer do not repay turning the weight over */

/* What there is room for: tiles of `pairs` pairs of rows, then `columns` columns of the weight. */
typedef struct {
    int32_t pairs, columns;
} panels;

/* All columns and one pair of rows, so that the weight is turned over once; otherwise as many rows
 * at a time as eight columns leave room for. No pairs: there is room for neither. */
static panels panels_in(int32_t room, int32_t T, int32_t C, int32_t O) {
    const int32_t pair = 4 * tile_words(C);
    panels p = {1, C};
    if (T < FEW_ROWS || O > TRANSPOSE_REACH) {
        p.pairs = 0;
    } else if (pair + C * O > room) {
        const int32_t most = (T + 1) / 2, held = (room - 8 * O) / pair;
        p.pairs = held < most ? held : most;
        p.columns = (room - p.pairs * pair) / O / 8 * 8;
        p.pairs = held < 2 ? 0 : p.pairs;
    }
    return p;
}

static void by_rows(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                    const matrix *m, int32_t *acc, uint32_t key, int32_t row, int32_t T, int32_t O,
                    int32_t exp_add) {
    for (int32_t t = 0; t < T; t++) {
        weighted_rows(acc, g + t * O, 1, m, O);
        gx_exp[t] = quantize(gx + t * m->C, acc, LINE, m->C, g_exp[t] + exp_add, key,
                             (uint32_t)((row + t) * m->C));
    }
}

void tt_linear_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                     const int8_t *w, const int8_t *wt, const int16_t *rows, int32_t *scratch,
                     const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t O,
                     int32_t exp_add, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    const panels held = panels_in(room, T, C, O);
    if (held.pairs == 0) {
        const matrix m = {w, wt, rows, C};
        by_rows(gx, gx_exp, g, g_exp, &m, scratch, key, st->row, T, O, exp_add);
        return;
    }
    const int32_t words = tile_words(C);
    int8_t *const panel = (int8_t *)(scratch + held.pairs * words);
    for (int32_t t = 0; t < T; t += 2 * held.pairs) {
        const int32_t end = T - t < 2 * held.pairs ? T : t + 2 * held.pairs;
        for (int32_t i = 0; i < C; i += held.columns) {
            const int32_t n = C - i < held.columns ? C - i : held.columns;
            for (int32_t o = 0; o < O && (t == 0 || n < C); o++) {
                put_column(panel + o, weight_row(w, wt, rows, o, C) + i, n, O);
            }
            for (int32_t r = t; r < end; r += 2) {
                const int8_t *g0 = g + r * O, *g1 = r + 1 < T ? g0 + O : g0;
                dot_matrix(scratch + (r - t) / 2 * words + 2 * i, panel, g0, g1, O, n);
            }
        }
        for (int32_t r = t; r < end; r++) {
            gx_exp[r] = quantize(gx + r * C, scratch + (r - t) / 2 * words + 2 * (r & 1), TILES, C,
                                 g_exp[r] + exp_add, key, (uint32_t)((st->row + r) * C));
        }
    }
}
