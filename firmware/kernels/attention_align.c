/* Gradients of several rows, or heads, brought to one exponent. */
#include "small.h"

#include "attention_rows.h"

void tt_align_scores(int8_t *out, int32_t out_stride, const int8_t *ds, int32_t stride,
                     const int16_t *e, int32_t top, const tt_head *head, int32_t j, int32_t n,
                     uint32_t key) {
    for (int32_t i = 0; i < head->T; i++) {
        const int32_t left = tt_head_columns(head, i) - j;
        const int32_t columns = left < n ? (left > 0 ? left : 0) : n;
        int8_t *row = out + i * out_stride;
        if (n == 1 && columns == 1) {
            row[0] =
                tt_stochastic_shift(ds[i * stride], top - e[i], key, tt_score_number(head, i, j));
            continue;
        }
        tt_align_row(row, ds + i * stride, columns, top - e[i], key, tt_score_number(head, i, j));
        for (int32_t b = columns; (b & 3) && b < n; b++) {
            row[b] = 0;
        }
    }
}

void tt_align_head(int8_t *out, const int8_t *g, const int16_t *e, int32_t top, const tt_head *head,
                   uint32_t key) {
    for (int32_t i = 0; i < head->T; i++) {
        const int32_t at = tt_head_at(head, i);
        tt_align_row(out + i * head->width, g + at, head->width, top - e[i], key, (uint32_t)at);
    }
}

int16_t tt_join_heads(int8_t *row, const int16_t *e, int32_t i, const tt_head *head, uint32_t key) {
    const int16_t top = tt_largest_exponent(e, head->H);
    for (int32_t h = 0; h < head->H; h++) {
        int8_t *part = row + h * head->width;
        tt_align_row(part, part, head->width, top - e[h], key,
                     (uint32_t)(i * head->C + h * head->width));
    }
    return top;
}
