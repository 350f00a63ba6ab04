#include "heads.h"

void tt_head_dots(int32_t *acc, const int8_t *a, const int8_t *b, const tt_head *head,
                  int32_t count, int32_t n) {
    const int32_t T = head->T, C = head->C;
    tt_left left;
    tt_right right;
    for (int32_t r = 0; r < count; r++) {
        memset(acc + r * T, 0, (size_t)n * sizeof *acc);
    }
    for (int32_t c = 0; c < head->width; c += TT_BLOCK_DEPTH) {
        const int32_t depth = tt_least(head->width - c, TT_BLOCK_DEPTH);
        tt_left_rows(&left, a + c, C, count, depth, 128);
        for (int32_t j = 0; j < n; j += TT_BLOCK_COLUMNS) {
            const int32_t columns = tt_least(n - j, TT_BLOCK_COLUMNS);
            const int8_t *list[TT_BLOCK_COLUMNS];
            tt_row_list(list, b + j * C + c, C, columns);
            tt_right_rows(&right, list, columns, depth);
            tt_product(acc + j, T, &left, &right, count, columns, depth);
        }
    }
}

void tt_head_sums(int32_t *acc, const void *a, int32_t lift, int32_t stride, const int8_t *b,
                  int32_t C, int32_t count, int32_t columns, int32_t n) {
    tt_left left;
    tt_right right;
    memset(acc, 0, (size_t)(count * columns) * sizeof *acc);
    for (int32_t j = 0; j < n; j += TT_BLOCK_DEPTH) {
        const int32_t depth = tt_least(n - j, TT_BLOCK_DEPTH);
        tt_left_rows(&left, (const uint8_t *)a + j, stride, count, depth, lift);
        for (int32_t c = 0; c < columns; c += TT_BLOCK_COLUMNS) {
            const int32_t some = tt_least(columns - c, TT_BLOCK_COLUMNS);
            const int8_t *list[TT_BLOCK_DEPTH];
            tt_row_list(list, b + j * C + c, C, depth);
            tt_right_columns(&right, list, some, depth);
            tt_product(acc + c, columns, &left, &right, count, some, depth);
        }
    }
}
