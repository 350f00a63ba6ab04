/* Softmax, forward and backward, by rows in plain C: the functions of attention_rows.h, or, for an arch that has
 * its own and defines TT_ARCH_ATTENTION, static ones named plain_* for where there is no room. */
#ifndef TT_ATTENTION_ROWS_PLAIN_H
#define TT_ATTENTION_ROWS_PLAIN_H

#include "attention_rows.h"
#include "tinytrain/tt_rows.h"
#ifndef TT_ARCH_LOOPS
#include "attention_loops.h"
#endif
#ifdef TT_ARCH_ATTENTION
#define PLAIN(type, name) TT_SMALL __attribute__((noinline, unused)) static type plain_##name
#else
#define PLAIN(type, name) type tt_##name
#endif

PLAIN(void, probs_rows)(uint8_t *p, int32_t stride, tt_softmax *sums, const int8_t *q,
                        const tt_matrix *k, const tt_head *head, int32_t i, int32_t n,
                        tt_scaling scale, tt_room room) {
    int32_t *line = (int32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i++, p += stride) {
        const int32_t columns = tt_head_columns(head, i);
        tt_softmax found;
        found.top = row_dots(line, q + tt_head_at(head, i), k->x, columns, head->width, k->stride);
        found.rec = (255u << 24) / exponentials(line, columns, found.top, scale);
        probabilities(p, line, columns, found.rec, head->T);
        if (sums != NULL) {
            sums[i] = found;
        }
    }
}

/* Columns of row i in a block of n columns from j on; below 1: none. */
static int32_t block_columns(const tt_head *head, int32_t i, int32_t j, int32_t n) {
    const int32_t left = tt_head_columns(head, i) - j;
    return left < n ? left : n;
}

PLAIN(void, probs_columns)(uint8_t *p, int32_t stride, const tt_softmax *sums, const int8_t *q,
                           const tt_matrix *k, const tt_head *head, int32_t j, int32_t n,
                           tt_scaling scale, tt_room room) {
    int32_t *line = (int32_t *)(void *)room.at;
    for (int32_t i = 0; i < head->T; i++, p += stride) {
        const int32_t columns = block_columns(head, i, j, n);
        row_dots(line, q + tt_head_at(head, i), k->x + j * k->stride, columns, head->width,
                 k->stride);
        exponentials(line, columns, sums[i].top, scale);
        probabilities(p, line, columns > 0 ? columns : 0, sums[i].rec, n);
    }
}

PLAIN(void, attend)(int8_t *y, const int8_t *q, const tt_matrix *k, const tt_matrix *v,
                    const tt_head *head, tt_scaling score, tt_scaling mix, tt_room room) {
    uint8_t *p = room.at; /* a probability replaces the first byte of a score before it */
    const tt_room line = {room.at, 4 * head->T}, none = {NULL, 0};
    for (int32_t i = 0; i < head->T; i++) {
        tt_probs_rows(p, 0, NULL, q, k, head, i, 1, score, line);
        tt_mix_rows(y, p, 0, v, head, i, 1, mix, none);
    }
}

PLAIN(void, ds_rows)(int8_t *ds, int32_t stride, int16_t *e, int32_t *r, const uint8_t *p,
                     const tt_score_gradients *s, const tt_matrix *v, const tt_head *head,
                     int32_t i, int32_t n, tt_room room) {
    int32_t *line = (int32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i++, ds += stride, p += stride) {
        const int32_t columns = tt_head_columns(head, i);
        row_dots(line, s->g + tt_head_at(head, i), v->x, columns, head->width, v->stride);
        const int32_t sum = weighted_total(p, line, columns);
        score_gradients(line, p, columns, sum);
        if (r != NULL) {
            r[i] = sum;
        }
        e[i] = tt_quantize_row(ds, line, columns, s->g_exp[i] + s->exp_add, s->key,
                               tt_score_number(head, i, 0));
        for (int32_t j = columns; (j & 3) && j < head->T; j++) {
            ds[j] = 0;
        }
    }
}

PLAIN(void, ds_columns)(int8_t *ds, int32_t stride, const int16_t *e, const int32_t *r,
                        const uint8_t *p, const tt_score_gradients *s, const tt_matrix *v,
                        const tt_head *head, int32_t j, int32_t n, tt_room room) {
    int32_t *line = (int32_t *)(void *)room.at;
    for (int32_t i = 0; i < head->T; i++, ds += stride, p += stride) {
        const int32_t columns = block_columns(head, i, j, n);
        const int32_t none = e[i] == TT_ZERO_EXPONENT;
        const int32_t shift = none ? 0 : e[i] - s->g_exp[i] - s->exp_add;
        row_dots(line, s->g + tt_head_at(head, i), v->x + j * v->stride, columns, head->width,
                 v->stride);
        score_gradients(line, p, columns, r[i]);
        if (columns > 0) {
            tt_round_row(ds, line, columns, shift, s->key, tt_score_number(head, i, j));
        }
        for (int32_t b = columns > 0 ? columns : 0; (b & 3) && b < n; b++) {
            ds[b] = 0;
        }
    }
}

#endif
