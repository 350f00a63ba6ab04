#include "tinytrain/tt_linear.h"

#include "columns.h"

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
    tt_columns columns;
    int32_t acc[TT_BLOCK_ROWS * TT_BLOCK_COLUMNS];
    for (int32_t t = 0; t < T; t += TT_BLOCK_ROWS) {
        const int32_t count = tt_least(T - t, TT_BLOCK_ROWS);
        for (int32_t o = 0; o < O; o += TT_BLOCK_COLUMNS) {
            const int32_t n = tt_least(O - o, TT_BLOCK_COLUMNS);
            tt_choose(&columns, b, bt, rows, mult, shift, o, n, per_channel);
            tt_begin_rows(acc, &columns, count);
            for (int32_t i = 0; i < C; i += TT_BLOCK_DEPTH) {
                const int32_t depth = tt_least(C - i, TT_BLOCK_DEPTH);
                if (o == 0 || C > TT_BLOCK_DEPTH) {
                    tt_left_rows(&left, x + t * C + i, C, count, depth, 128);
                }
                tt_weight_block(&right, w, wt, rows, o, n, i, depth, C);
                tt_product(acc, TT_BLOCK_COLUMNS, &left, &right, count, TT_BLOCK_COLUMNS, depth);
            }
            for (int32_t r = 0; r < count; r++) {
                int32_t *row = acc + r * TT_BLOCK_COLUMNS;
                const int32_t at = (t + r) * O + o;
                tt_requantize_row(row, &columns, limit);
                if (y8 != NULL) {
                    tt_put8(y8 + at, row, n);
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
