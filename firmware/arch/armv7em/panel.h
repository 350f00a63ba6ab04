/* Panels: two rows of a matrix of int8 as int16, four columns after the other as four words: row 0
 * columns (0,2), row 1 columns (0,2), row 0 columns (1,3), row 1 columns (1,3). Columns behind the last
 * are 0. */
#ifndef TT_PANEL_H
#define TT_PANEL_H

#include "../../kernels/products.h"
#include "dsp.h"

/* Words of a panel of C columns. */
static inline int32_t panel_words(int32_t C) {
    return (C + 3) / 4 * 4;
}

/* A panel from rows a and b times 2^shift, shift in [0, 8]. Gives the word behind it. */
uint32_t *tt_expand(uint32_t *p, const int8_t *a, const int8_t *b, int32_t C, int32_t shift);

typedef uint32_t *(*expander)(uint32_t *p, const int8_t *a, const int8_t *b, int32_t C,
                              int32_t shift);

/* What does so for all rows of C columns that lie as these addresses, or'ed, do. */
expander tt_expander(uintptr_t rows, int32_t C, int32_t shift);

/* Panels of T rows; the last odd one is repeated. */
void tt_expand_rows(uint32_t *p, const int8_t *x, int32_t T, int32_t C, int32_t shift);

/* Four rows a .. d of four columns, transposed: a group of the panel of columns 0 and 1 at p, of that
 * of 2 and 3 at q. */
static inline void transpose(uint32_t *p, uint32_t *q, uint32_t a, uint32_t b, uint32_t c,
                             uint32_t d) {
    const uint32_t ac = dsp_pair((int32_t)a, (int32_t)c), bd = dsp_pair((int32_t)b, (int32_t)d);
    p[0] = dsp_even(ac);
    p[1] = dsp_odd(ac);
    p[2] = dsp_even(bd);
    p[3] = dsp_odd(bd);
    const uint32_t ca = dsp_tops((int32_t)c, (int32_t)a), db = dsp_tops((int32_t)d, (int32_t)b);
    q[0] = dsp_even(ca);
    q[1] = dsp_odd(ca);
    q[2] = dsp_even(db);
    q[3] = dsp_odd(db);
}

/* A matrix, which may be a split weight. */
typedef struct {
    const int8_t *w, *wt;
    const int16_t *rows;
    int32_t C, O;
} weight;

/* Panels, of `words` words, of the pairs of columns begin .. end - 1, a multiple of 4 of them. Gives
 * the word behind them. */
uint32_t *tt_expand_columns(uint32_t *p, int32_t words, const weight *w, int32_t begin,
                            int32_t end);

#endif
