#pragma GCC optimize("Os") /* the loops are assembly */

#include "layer.h"

#define FEW_ROWS 3 /* so many rows leave the weight as bytes */

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
            const int8_t *const x = l->x + begin * C;
            tt_layer_few(l, p.at, p.pairs < 0 ? room / 4 & ~3 : C, x, x + (end - begin - 1) * C,
                         begin);
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
