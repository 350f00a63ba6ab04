#include "tinytrain/tt_linear.h"

#include "product.h"
#include "products.h"

/* Requantization of one block of columns. */
typedef struct {
    int32_t bias[TT_BLOCK_COLUMNS];
    int64_t mult[TT_BLOCK_COLUMNS], half[TT_BLOCK_COLUMNS], shift[TT_BLOCK_COLUMNS];
} columns_of;

static void choose(columns_of *c, const int32_t *b, const int32_t *bt, const int16_t *rows,
                   const int32_t *mult, const int32_t *shift, int32_t o, int32_t n,
                   int32_t per_channel) {
    for (int32_t i = 0; i < TT_BLOCK_COLUMNS; i++) {
        const int32_t at = o + (i < n ? i : 0), q = per_channel ? at : 0;
        c->bias[i] = bias_of(b, bt, rows, at);
        c->mult[i] = mult[q];
        c->shift[i] = shift[q];
        c->half[i] = (int64_t)1 << (shift[q] - 1);
    }
}

static inline void requantize(int16_t *restrict y, const int32_t *restrict acc,
                              const columns_of *restrict c, int32_t limit) {
    for (int32_t i = 0; i < TT_BLOCK_COLUMNS; i++) {
        const int64_t v = (acc[i] * c->mult[i] + c->half[i]) >> c->shift[i];
        y[i] = (int16_t)(v > limit ? limit : (v < -limit ? -limit : v));
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
                int16_t row[TT_BLOCK_COLUMNS];
                requantize(row, acc + r * TT_BLOCK_COLUMNS, &columns, limit);
                const int32_t at = (t + r) * O + o;
                if (y16 != NULL) {
                    memcpy(y16 + at, row, (size_t)n * sizeof *row);
                    continue;
                }
                int8_t narrow[TT_BLOCK_COLUMNS];
                for (int32_t k = 0; k < TT_BLOCK_COLUMNS; k++) {
                    narrow[k] = (int8_t)row[k];
                }
                memcpy(y8 + at, narrow, (size_t)n);
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
