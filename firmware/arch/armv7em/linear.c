#pragma GCC optimize("Os")

#include "few_rows.h"
#include "layer.h"

#define FEW_ROWS 3 /* so many rows leave the weight as bytes */

/* x . w of columns from i on. */
static int32_t dot_rest(const int8_t *x, const int8_t *w, int32_t i, int32_t C) {
    int32_t sum = 0;
    for (; i + 4 <= C; i += 4) {
        const uint32_t u = dsp_load(x + i), v = dsp_load(w + i);
        sum = dsp_dot(dsp_even(u), dsp_even(v), sum);
        sum = dsp_dot(dsp_odd(u), dsp_odd(v), sum);
    }
    for (; i < C; i++) {
        sum += x[i] * w[i];
    }
    return sum;
}

/* Rows t and, where there are two, t + 1 of x by all rows of the weight; xp: for their panel. */
__attribute__((noinline)) static void few(const layer *l, uint32_t *xp, int32_t t, int32_t two) {
    const int32_t C = l->C, O = l->O, columns = two ? 4 : 8;
    const int aligned = (((uintptr_t)l->w | (uintptr_t)l->wt | (uintptr_t)C) & 3u) == 0;
    const int together = l->rows == NULL || l->wt == NULL;
    const int32_t steps = two || aligned ? C / columns : 0, done = steps * columns;
    const int8_t *const x0 = l->x + t * C, *const x1 = x0 + two * C;
    int32_t sums[2 * SUMS];
    few_rows run = {.x = xp,
                    .turns = (steps + 3) / 4,
                    .left_out = -steps & 3,
                    .skip = 2 * C - done,
                    .pairs = 1};
    if (steps > 0 && two) {
        tt_expand(xp, x0, x1, C, 0);
    } else if (steps > 0) {
        tt_expand_row(xp, x0, done / 4);
    }
    for (int32_t o = 0, n; o < O; o += n) {
        n = O - o < SUMS ? O - o : SUMS;
        if (together) {
            run.pairs = n / 2;
        }
        for (int32_t i = 0; steps > 0 && i < n; i += 2 * run.pairs) {
            const int32_t next = i + 1 < n ? 1 : 0; /* the last may be made twice */
            run.pairs = next ? run.pairs : 1;
            run.sums = sums + i;
            if (two) {
                dots_of_two(&run, row_of(l, o + i), row_of(l, o + i + next));
            } else {
                dots_of_one(&run, row_of(l, o + i), row_of(l, o + i + next));
            }
        }
        for (int32_t i = 0; done < C && i < n; i++) {
            const int8_t *const w = row_of(l, o + i);
            sums[i] = (done > 0 ? sums[i] : 0) + dot_rest(x0, w, done, C);
            sums[SUMS + i] = (done > 0 ? sums[SUMS + i] : 0) + dot_rest(x1, w, done, C);
        }
        for (int32_t r = 0; r <= two; r++) {
            tt_layer_put(l, sums + SUMS * r, t + r, o, n);
        }
    }
}

/* Where panels lie, and of how many pairs of rows of x beside one of the weight; < 0: not even that. */
typedef struct {
    uint32_t *at;
    int32_t pairs;
} panels;

/* In the scratch, or behind the result of the next rows where that holds more. */
static panels panels_of(const layer *l, int32_t *scratch, int32_t room, int32_t begin, int32_t T) {
    const int32_t pair = 4 * panel_words(l->C), left = T - begin;
    const int32_t row = l->O * (l->y8 != NULL ? 1 : 2), behind = left * row - 3 - pair;
    panels p = {(uint32_t *)scratch, room / pair - 1};
    const int32_t pairs = behind / (pair + 2 * row);
    if (pairs > 0 && pairs > p.pairs) {
        p.pairs = pairs;
        const uintptr_t y = l->y8 != NULL ? (uintptr_t)l->y8 : (uintptr_t)l->y16;
        p.at = (uint32_t *)((y + (uint32_t)((begin + 2 * p.pairs) * row) + 3u) & ~(uintptr_t)3u);
    }
    return p;
}

static void linear(const layer *l, int32_t *scratch, int32_t room, int32_t T) {
    const int32_t C = l->C, words = panel_words(C);
    const int32_t k = T > FEW_ROWS ? tt_layer_scale(l) : 0;
    int32_t end;
    for (int32_t begin = 0; begin < T; begin = end) {
        const panels p = panels_of(l, scratch, room, begin, T);
        if (T - begin <= FEW_ROWS || p.pairs < 2) {
            end = begin + 1 < T ? begin + 2 : T;
            if (p.pairs < 0) {
                const int8_t *const row = l->x + begin * C;
                tt_layer_bytes(l, row, row + (end - begin - 1) * C, begin);
            } else {
                few(l, p.at, begin, end - begin - 1);
            }
            continue;
        }
        end = T - begin <= 2 * p.pairs ? T : begin + 2 * p.pairs;
        uint32_t *const wp = p.at;
        tt_expand_rows(wp + words, l->x + begin * C, end - begin, C, k);
        tt_layer_rows(l, wp, wp + words, begin, end, k);
    }
}

void tt_linear_s8(int8_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                  const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                  const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                  int32_t O, int32_t per_channel) {
    const layer l = {x, w, wt, rows, b, bt, mult, shift, C, O, per_channel, y, NULL, 127};
    linear(&l, scratch, room, T);
}

void tt_linear_s16(int16_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                   const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                   const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                   int32_t O, int32_t per_channel) {
    const layer l = {x, w, wt, rows, b, bt, mult, shift, C, O, per_channel, NULL, y, 32767};
    linear(&l, scratch, room, T);
}
