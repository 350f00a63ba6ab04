#pragma GCC optimize("Os", "no-tree-loop-distribute-patterns") /* the loops are assembly */

#include "few_rows.h"
#include "layer.h"

#define FEW_ROWS 3     /* so many rows leave the weight as bytes */
#define FEW_COLUMNS 32 /* of a panel on the stack */

/* Rows t .. t + n - 1, one or two, by all rows of the weight; xp: for a panel of so many of their columns
 * at a time, or the stack is. */
__attribute__((noinline)) static void few(const layer *l, uint32_t *xp, int32_t span, int32_t t,
                                          int32_t n) {
    const int32_t C = l->C, O = l->O, whole = C & ~3;
    const int8_t *const x = l->x + t * C, *const below = x + (n - 1) * C;
    const int together = l->rows == NULL || l->wt == NULL;
    int32_t sums[2 * SUMS];
    uint32_t some[FEW_COLUMNS];
    few_rows run = {.x = xp};
    if (span < FEW_COLUMNS) {
        run.x = some;
        span = FEW_COLUMNS;
    }
    for (int32_t o = 0, count; o < O; o += count) {
        count = O - o < SUMS ? O - o : SUMS;
        for (int32_t i = 0; i < 2 * SUMS; i++) {
            sums[i] = 0;
        }
        for (int32_t c = 0, columns; c < whole; c += columns) {
            columns = whole - c < span ? whole - c : span;
            if (o == 0 || span < C) {
                tt_expand((uint32_t *)run.x, x + c, below + c, columns, 0);
            }
            run.turns = (columns + 15) / 16;
            run.left_out = -(columns / 4) & 3;
            run.skip = 2 * C - columns;
            run.pairs = together ? count / 2 : 1;
            for (int32_t i = 0; i < count; i += 2 * run.pairs) {
                const int32_t next = i + 1 < count ? 1 : 0; /* the last may be made twice */
                run.pairs = next ? run.pairs : 1;
                run.sums = sums + i;
                dots_of_two(&run, row_of(l, o + i) + c, row_of(l, o + i + next) + c);
            }
        }
        for (int32_t i = 0; whole < C && i < count; i++) {
            const int8_t *const w = row_of(l, o + i);
            for (int32_t c = whole; c < C; c++) {
                sums[i] += x[c] * w[c];
                sums[SUMS + i] += below[c] * w[c];
            }
        }
        for (int32_t r = 0; r < n; r++) {
            tt_layer_put(l, sums + SUMS * r, t + r, o, count);
        }
    }
}

/* Where panels lie, and of how many pairs of rows of x beside one of the weight; 0: of one alone; < 0: not
 * even that. */
typedef struct {
    uint32_t *at;
    int32_t pairs;
} panels;

/* In the scratch, or behind the result of the next rows where that holds more. */
static panels panels_of(const layer *l, int32_t *scratch, int32_t room, int32_t begin, int32_t T) {
    const int32_t pair = 4 * panel_words(l->C), left = T - begin;
    const int32_t row = l->O * (l->y8 != NULL ? 1 : 2), behind = left * row - 3 - pair;
    const int32_t pairs = behind >= 2 * row ? behind / (pair + 2 * row) : -1;
    panels p = {(uint32_t *)scratch, room / pair - 1};
    if (pairs > p.pairs) {
        const uintptr_t y = l->y8 != NULL ? (uintptr_t)l->y8 : (uintptr_t)l->y16;
        const int32_t rows = begin + (pairs > 0 ? 2 * pairs : 2);
        p = (panels){(uint32_t *)((y + (uint32_t)(rows * row) + 3u) & ~(uintptr_t)3u), pairs};
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
            few(l, p.at, p.pairs < 0 ? room / 4 & ~3 : C, begin, end - begin);
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
