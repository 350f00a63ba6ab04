#include "tinytrain/tt_linear.h"

#include "fixed.h"
#include "product.h"
#include "products.h"

/* Requantization of a block of columns; fixed: all of it in 32 bits. */
typedef struct {
    int32_t bias[TT_BLOCK_COLUMNS], shift[TT_BLOCK_COLUMNS];
    int32_t mult[TT_BLOCK_COLUMNS], half[TT_BLOCK_COLUMNS], down[TT_BLOCK_COLUMNS];
    int32_t fixed;
} columns_of;

static void choose(columns_of *c, const int32_t *b, const int32_t *bt, const int16_t *rows,
                   const int32_t *mult, const int32_t *shift, int32_t o, int32_t n,
                   int32_t per_channel) {
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
static inline void requantize(int32_t *restrict acc, const columns_of *restrict c, int32_t limit) {
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
static inline void put8(int8_t *y, const int32_t *acc, int32_t n) {
    int8_t narrow[TT_BLOCK_COLUMNS];
    for (int32_t i = 0; i < TT_BLOCK_COLUMNS; i++) {
        narrow[i] = (int8_t)acc[i];
    }
    memcpy(y, narrow, (size_t)n);
}

static inline void put16(int16_t *y, const int32_t *acc, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        y[i] = (int16_t)acc[i];
    }
}

/* Both widths of linear: y8 or y16 is NULL. */
static void linear(int8_t *y8, int16_t *y16, int32_t limit, const int8_t *x, const int8_t *w,
                   const int8_t *wt, const int16_t *rows, const int32_t *b, const int32_t *bt,
                   const int32_t *mult, const int32_t *shift, int32_t T, int32_t C, int32_t O,
                   int32_t per_channel) {
    tt_left left;
    tt_right right;
    columns_of columns;
    int32_t acc[TT_BLOCK_ROWS * TT_BLOCK_COLUMNS];
    for (int32_t t = 0; t < T; t += TT_BLOCK_ROWS) {
        const int32_t count = tt_least(T - t, TT_BLOCK_ROWS);
        for (int32_t o = 0; o < O; o += TT_BLOCK_COLUMNS) {
            const int32_t n = tt_least(O - o, TT_BLOCK_COLUMNS);
            choose(&columns, b, bt, rows, mult, shift, o, n, per_channel);
            for (int32_t r = 0; r < count; r++) {
                memcpy(acc + r * TT_BLOCK_COLUMNS, columns.bias, sizeof columns.bias);
            }
            for (int32_t i = 0; i < C; i += TT_BLOCK_DEPTH) {
                const int32_t depth = tt_least(C - i, TT_BLOCK_DEPTH);
                const int8_t *list[TT_BLOCK_COLUMNS];
                for (int32_t k = 0; k < n; k++) {
                    list[k] = weight_row(w, wt, rows, o + k, C) + i;
                }
                if (o == 0 || C > TT_BLOCK_DEPTH) {
                    tt_left_rows(&left, x + t * C + i, C, count, depth, 128);
                }
                tt_right_rows(&right, list, n, depth);
                tt_product(acc, TT_BLOCK_COLUMNS, &left, &right, count, TT_BLOCK_COLUMNS, depth);
            }
            for (int32_t r = 0; r < count; r++) {
                int32_t *row = acc + r * TT_BLOCK_COLUMNS;
                const int32_t at = (t + r) * O + o;
                requantize(row, &columns, limit);
                if (y8 != NULL) {
                    put8(y8 + at, row, n);
                } else {
                    put16(y16 + at, row, n);
                }
            }
        }
    }
}

void tt_linear_s8(int8_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                  const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                  const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                  int32_t O, int32_t per_channel) {
    (void)scratch;
    (void)room;
    linear(y, NULL, 127, x, w, wt, rows, b, bt, mult, shift, T, C, O, per_channel);
}

void tt_linear_s16(int16_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                   const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                   const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                   int32_t O, int32_t per_channel) {
    (void)scratch;
    (void)room;
    linear(NULL, y, 32767, x, w, wt, rows, b, bt, mult, shift, T, C, O, per_channel);
}
