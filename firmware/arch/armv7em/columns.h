/* Panels of the columns of a matrix, which may be a split weight. */
#ifndef TT_COLUMNS_H
#define TT_COLUMNS_H

#include "../../kernels/products.h"
#include "tile.h"
#include "tinytrain/tt_linear.h"

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
        return load4(at);
    }
    uint32_t word = 0;
    for (int32_t c = 0; c < w->C - i; c++) {
        word |= (uint32_t)(uint8_t)at[c] << (8 * c);
    }
    return word;
}

/* Panels of columns i, i + 1 and i + 2, i + 3. */
__attribute__((noinline, unused)) static void expand_columns(uint32_t *p, uint32_t *q,
                                                             const weight *w, int32_t i) {
    const int32_t C = w->C;
    int32_t o = 0;
    if (i + 4 <= C && (w->rows == NULL || w->wt == NULL)) {
        o = w->O & ~3;
        if (o > 0) {
            transpose_rows(p, q, w->w + i, C, o / 4);
        }
        p += o;
        q += o;
    }
    for (; o < w->O; o += 4, p += 4, q += 4) {
        transpose(p, q, four_columns(w, o, i), four_columns(w, o + 1, i), four_columns(w, o + 2, i),
                  four_columns(w, o + 3, i));
    }
}

#endif
