/* Panels of the columns of a matrix, which may be a split weight. */
#ifndef TT_COLUMNS_H
#define TT_COLUMNS_H

#include "../../kernels/products.h"
#include "panel.h"

typedef struct {
    const int8_t *w, *wt;
    const int16_t *rows;
    int32_t C, O;
} weight;

/* Up to four columns from i on of row o; 0 behind the last row and column. */
static inline uint32_t four_columns(const weight *w, int32_t o, int32_t i) {
    if (o >= w->O) {
        return 0;
    }
    const int8_t *at = weight_row(w->w, w->wt, w->rows, o, w->C) + i;
    if (i + 4 <= w->C) {
        return dsp_load(at);
    }
    uint32_t word = 0;
    for (int32_t c = 0; c < w->C - i; c++) {
        word |= (uint32_t)(uint8_t)at[c] << (8 * c);
    }
    return word;
}

/* Panels, of `words` words, of the pairs of columns begin .. end - 1, a multiple of 4 of them. Gives the word
 * behind them. */
__attribute__((noinline, unused)) static uint32_t *
expand_columns(uint32_t *p, int32_t words, const weight *w, int32_t begin, int32_t end) {
    const int32_t whole = ((end < w->C ? end : w->C) - begin) & ~3;
    for (int32_t o = 0; o < w->O; o += 4) {
        int32_t i = begin;
        if (o + 4 <= w->O && whole > 0) {
            const int8_t *rows[4];
            for (int32_t r = 0; r < 4; r++) {
                rows[r] = weight_row(w->w, w->wt, w->rows, o + r, w->C) + begin;
            }
            transpose_rows(p + o, 4 * words, rows, whole / 4);
            i += whole;
        }
        for (; i < end; i += 4) {
            uint32_t *const q = p + (i - begin) / 2 * words + o;
            transpose(q, q + words, four_columns(w, o, i), four_columns(w, o + 1, i),
                      four_columns(w, o + 2, i), four_columns(w, o + 3, i));
        }
    }
    return p + (end - begin) / 2 * words;
}

#endif
