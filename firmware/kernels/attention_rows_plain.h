/* Softmax, forward and backward, by rows in plain C: the functions of attention_rows.h, or, for an arch that has
 * its own and defines TT_ARCH_ATTENTION, static ones named plain_* for where there is no room. */
#ifndef TT_ATTENTION_ROWS_PLAIN_H
#define TT_ATTENTION_ROWS_PLAIN_H

#include "attention_rows.h"
#include "tinytrain/tt_tables.h"
#ifdef TT_ARCH_ATTENTION
#define PLAIN(type, name) TT_SMALL __attribute__((noinline, unused)) static type plain_##name
#else
#define PLAIN(type, name) type tt_##name
#endif

static inline void add_products(int32_t acc[4], const int8_t *x, const int8_t *r0, const int8_t *r1,
                                const int8_t *r2, const int8_t *r3, int32_t c) {
    acc[0] += x[c] * r0[c];
    acc[1] += x[c] * r1[c];
    acc[2] += x[c] * r2[c];
    acc[3] += x[c] * r3[c];
}

/* out[j] = x . rows[j], n rows of `width`, `stride` apart; gives the largest. Four rows a pass over x.
 * Past the last row the last one is repeated, and its product not stored. */
static int32_t row_dots(int32_t *restrict out, const int8_t *restrict x,
                        const int8_t *restrict rows, int32_t n, int32_t width, int32_t stride) {
    int32_t top = INT32_MIN;
    for (int32_t j = 0; j < n; j += 4) {
        const int32_t left = n - j;
        const int8_t *restrict r0 = rows + j * stride;
        const int8_t *restrict r1 = r0 + (left > 1 ? stride : 0);
        const int8_t *restrict r2 = r1 + (left > 2 ? stride : 0);
        const int8_t *restrict r3 = r2 + (left > 3 ? stride : 0);
        int32_t acc[4] = {0, 0, 0, 0}, c = 0;
        for (; c + 2 <= width; c += 2) {
            add_products(acc, x, r0, r1, r2, r3, c);
            add_products(acc, x, r0, r1, r2, r3, c + 1);
        }
        if (c < width) {
            add_products(acc, x, r0, r1, r2, r3, c);
        }
        for (int32_t b = 0; b < 4 && b < left; b++) {
            out[j + b] = acc[b];
            top = acc[b] > top ? acc[b] : top;
        }
    }
    return top;
}

/* Scores -> exponentials; gives their sum. */
static uint32_t exponentials(int32_t *scores, int32_t n, int32_t top, tt_scaling scale) {
    uint32_t sum = 0;
    if (scale.shift <= 32) {
        for (int32_t j = 0; j < n; j++) {
            const uint32_t e =
                tt_exp16[tt_requantize(top - scores[j], scale.mult, scale.shift, 255)];
            scores[j] = (int32_t)e;
            sum += e;
        }
        return sum;
    }
    /* The same from the upper word of the product. */
    const int32_t shift = scale.shift - 32, half = (int32_t)(1u << (shift - 1)), mult = scale.mult;
    for (int32_t j = 0; j < n; j++) {
        const int32_t high = (int32_t)(((int64_t)(top - scores[j]) * mult) >> 32);
        const int32_t t = (high + half) >> shift;
        const uint32_t e = tt_exp16[t > 255 ? 255 : t];
        scores[j] = (int32_t)e;
        sum += e;
    }
    return sum;
}

/* Exponentials -> n probabilities, and zeros up to a multiple of 4 and the end of the row. */
static void probabilities(uint8_t *p, const int32_t *e, int32_t n, uint32_t rec, int32_t end) {
    for (int32_t j = 0; j < n; j++) {
        p[j] = (uint8_t)(((uint32_t)e[j] * rec + (1u << 23)) >> 24);
    }
    for (int32_t j = n; (j & 3) && j < end; j++) {
        p[j] = 0;
    }
}

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
        int32_t sum = 0;
        for (int32_t j = 0; j < columns; j++) {
            sum += p[j] * line[j];
        }
        for (int32_t j = 0; j < columns; j++) {
            line[j] = tt_score_gradient(p[j], line[j], sum);
        }
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
        for (int32_t b = 0; b < columns; b++) {
            ds[b] = tt_stochastic_shift(tt_score_gradient(p[b], line[b], r[i]), shift, s->key,
                                        tt_score_number(head, i, j + b));
        }
        for (int32_t b = columns > 0 ? columns : 0; (b & 3) && b < n; b++) {
            ds[b] = 0;
        }
    }
}

#endif
