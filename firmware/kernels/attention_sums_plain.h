/* Sums of rows, and gradients brought to another exponent, in plain C: the functions of attention_rows.h, or, for an arch that has
 * its own and defines TT_ARCH_ATTENTION, static ones named plain_* for where there is no room. */
#ifndef TT_ATTENTION_SUMS_PLAIN_H
#define TT_ATTENTION_SUMS_PLAIN_H

#include "attention_rows.h"
#ifndef TT_ARCH_LOOPS
#include "attention_loops.h"
#endif

#ifdef TT_ARCH_ATTENTION
#define PLAIN(type, name) TT_SMALL __attribute__((noinline, unused)) static type plain_##name
#else
#define PLAIN(type, name) type tt_##name
#endif

PLAIN(void, mix_rows)(int8_t *y, const uint8_t *p, int32_t stride, const tt_matrix *v,
                      const tt_head *head, int32_t i, int32_t n, tt_scaling scale, tt_room room) {
    (void)room;
    const int32_t width = head->width;
    for (const int32_t end = i + n; i < end; i++, p += stride) {
        int8_t *row = y + tt_head_at(head, i);
        weighted_codes(row, p, v->x, width, tt_head_columns(head, i), v->stride, scale);
    }
}

PLAIN(void, row_sums)(const tt_result *out, const int8_t *ds, int32_t stride, const int16_t *s_exp,
                      int32_t exp_add, const tt_matrix *x, const tt_head *head, int32_t n,
                      tt_room room) {
    int32_t *acc = (int32_t *)(void *)room.at;
    for (int32_t b = 0; b < n; b++) {
        const int32_t i = out->row + b;
        weighted_sum(acc, (const uint8_t *)ds + b * stride, 1, 1, x->x, head->width,
                     tt_head_columns(head, i), x->stride);
        out->e[b * out->e_stride] =
            tt_quantize_row(out->x + b * out->stride, acc, head->width, s_exp[i] + exp_add,
                            out->key, (uint32_t)tt_head_at(head, i));
    }
}

PLAIN(void, column_sums)(const tt_result *out, const uint8_t *block, int32_t stride,
                         int32_t is_signed, int32_t base, const tt_matrix *x, const tt_head *head,
                         int32_t n, tt_room room) {
    int32_t *acc = (int32_t *)(void *)room.at;
    for (int32_t b = 0; b < n; b++) {
        const int32_t j = out->row + b, first = head->causal ? j : 0;
        const uint8_t *column = block + first * stride + b;
        const int8_t *rows = x->x + first * x->stride;
        if (is_signed) {
            weighted_sum(acc, column, stride, 1, rows, head->width, head->T - first, x->stride);
        } else {
            weighted_sum(acc, column, stride, 0, rows, head->width, head->T - first, x->stride);
        }
        out->e[b * out->e_stride] = tt_quantize_row(out->x + b * out->stride, acc, head->width,
                                                    base, out->key, (uint32_t)tt_head_at(head, j));
    }
}

PLAIN(void, align_row)(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                       uint32_t first) {
    aligned_row(out, x, n, shift, key, first);
}

#endif
