/* Rows of a block of output columns: from accumulators to codes. */
#ifndef TT_COLUMNS_H
#define TT_COLUMNS_H

#include "fixed.h"
#include "product.h"
#include "products.h"

/* Requantization of a block of columns; fixed: all of it in 32 bits. */
typedef struct {
    int32_t bias[TT_BLOCK_COLUMNS], shift[TT_BLOCK_COLUMNS];
    int32_t mult[TT_BLOCK_COLUMNS], half[TT_BLOCK_COLUMNS], down[TT_BLOCK_COLUMNS];
    int32_t fixed;
} tt_columns;

static inline void tt_choose(tt_columns *c, const int32_t *b, const int32_t *bt,
                             const int16_t *rows, const int32_t *mult, const int32_t *shift,
                             int32_t o, int32_t n, int32_t per_channel) {
    c->fixed = 1;
    for (int32_t i = 0; i < TT_BLOCK_COLUMNS; i++) {
        const int32_t at = o + (i < n ? i : 0), q = per_channel ? at : 0;
        c->bias[i] = bias_of(b, bt, rows, at);
        c->mult[i] = mult[q];
        c->shift[i] = shift[q];
        if (tt_is_fixed(shift[q])) {
            const tt_fixed f = tt_fixed_of(mult[q], shift[q]);
            c->half[i] = f.half;
            c->down[i] = f.down;
        } else {
            c->fixed = 0;
        }
    }
}

/* One row of the block, in place. */
static inline void tt_requantize_row(int32_t *restrict acc, const tt_columns *restrict c,
                                     int32_t limit) {
    if (c->fixed) {
        for (int32_t i = 0; i < TT_BLOCK_COLUMNS; i++) {
            const tt_fixed f = {c->mult[i], c->half[i], c->down[i]};
            acc[i] = tt_scale(acc[i], f, limit);
        }
        return;
    }
    for (int32_t i = 0; i < TT_BLOCK_COLUMNS; i++) {
        acc[i] = tt_requantize(acc[i], c->mult[i], c->shift[i], limit);
    }
}

/* n of a row's columns as int8. */
static inline void tt_put8(int8_t *y, const int32_t *acc, int32_t n) {
    int8_t narrow[TT_BLOCK_COLUMNS];
    for (int32_t i = 0; i < TT_BLOCK_COLUMNS; i++) {
        narrow[i] = (int8_t)acc[i];
    }
    memcpy(y, narrow, (size_t)n);
}

/* Each row begins with the bias. */
static inline void tt_begin_rows(int32_t *acc, const tt_columns *c, int32_t count) {
    for (int32_t r = 0; r < count; r++) {
        memcpy(acc + r * TT_BLOCK_COLUMNS, c->bias, sizeof c->bias);
    }
}

/* right[k,n] = weight of output o + n and input i + k, of C inputs. */
static inline void tt_weight_block(tt_right *right, const int8_t *w, const int8_t *wt,
                                   const int16_t *rows, int32_t o, int32_t n, int32_t i,
                                   int32_t depth, int32_t C) {
    const int8_t *list[TT_BLOCK_COLUMNS];
    for (int32_t k = 0; k < n; k++) {
        list[k] = weight_row(w, wt, rows, o + k, C) + i;
    }
    tt_right_rows(right, list, n, depth);
}

#endif
