#pragma GCC optimize("Os") /* the loops are assembly */

/* Softmax, forward and backward, two rows at a time: products of int16 panels, DSP instructions. */
#include "attention_small.h"

#include "../../kernels/attention_rows_plain.h"
#include "attention_tiles.h"
#include "round.h"
#include "softmax.h"

tt_matrix tt_matrix_rows(const int8_t *x, const tt_head *head, tt_room *room) {
    tt_matrix m = {x + tt_head_at(head, 0), head->C, NULL, 0};
    const int32_t words = fours(head->width), pairs = (head->T + 1) >> 1;
    uint32_t *panel = take_panel(room, 4 * words * pairs, head);
    m.panel = panel;
    for (int32_t i = 0; panel != NULL && i < head->T; i += 2) {
        const int8_t *row = m.x + i * m.stride;
        panel = tt_expand_pair(panel, row, i + 1 < head->T ? row + m.stride : row, head->width, 1);
    }
    return m;
}

/* Whether rows can go in pairs. */
static int in_pairs(const tt_head *head, tt_room room) {
    return room.bytes >= work_bytes(head);
}

/* Products of rows a and b with `columns` rows of m, and up to one behind them: two lines. */
static void pair_dots(int32_t *line, const int8_t *a, const int8_t *b, const tt_matrix *m,
                      const tt_head *head, int32_t columns) {
    const int32_t words = fours(head->width);
    uint32_t *x = (uint32_t *)line + 2 * fours(head->T), *two = x + words;
    product_run *run = run_of(line, head);
    tt_expand_pair(x, a, b, head->width, 1);
    run->skip = 0;
    run->w = x;
    run->w_end = x + words;
    run->out0 = line;
    run->out1 = line + fours(head->T);
    run->x = m->panel;
    run->x_end = run->x + ((columns + 1) >> 1) * words;
    if (m->panel != NULL) {
        tt_products(run);
        return;
    }
    run->x = two;
    run->x_end = two + words;
    for (int32_t j = 0; j < columns; j += 2) {
        const int8_t *row = m->x + j * m->stride;
        tt_expand_pair(two, row, j + 1 < columns ? row + m->stride : row, head->width, 1);
        tt_products(run);
    }
}

/* Whether EXCLUDED, a score, has the exponential 0 whatever the largest is. */
#define EXCLUDED (-(1 << 30))
static int excludes(tt_scaling scale) {
    return scale.shift > 32 && scale.shift <= 52 && scale.mult >= 1 << 30;
}

/* n scores -> exponentials, and zeros up to a multiple of 4. */
static tt_softmax exponentials_of_row(int32_t *row, int32_t n, tt_scaling scale) {
    const int32_t turns = fours(n) >> 2, shift = scale.shift - 32;
    for (int32_t j = n; j & 3; j++) {
        row[j] = EXCLUDED;
    }
    tt_softmax found;
    found.top = largest_score(row, turns);
    found.rec = (255u << 24) / exponentials_of(row, found.top, scale.mult, 1 << (shift - 1), shift,
                                               tt_exp16, turns);
    return found;
}

/* n probabilities of a row, and zeros up to a multiple of 4 and column end. */
static void probabilities_of_row(uint8_t *p, const int32_t *row, int32_t n, uint32_t rec,
                                 int32_t end) {
    const int32_t turns = (fours(n) <= end ? fours(n) : n) >> 2;
    if (turns > 0) {
        probabilities_of(p, row, rec, turns);
    }
    for (int32_t j = 4 * turns; j < end && j < fours(n); j++) {
        p[j] = (uint8_t)(((uint32_t)row[j] * rec + (1u << 23)) >> 24);
    }
}

void tt_probs_rows(uint8_t *p, int32_t stride, tt_softmax *sums, const int8_t *q,
                   const tt_matrix *k, const tt_head *head, int32_t i, int32_t n, tt_scaling scale,
                   tt_room room) {
    if (!in_pairs(head, room) || !excludes(scale)) {
        plain_probs_rows(p, stride, sums, q, k, head, i, n, scale, room);
        return;
    }
    int32_t *line = (int32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i += 2, p += 2 * stride) {
        const int32_t two = i + 1 < end;
        const int8_t *row = q + tt_head_at(head, i);
        pair_dots(line, row, two ? row + head->C : row, k, head, tt_head_columns(head, i + two));
        for (int32_t b = 0; b <= two; b++) {
            const int32_t columns = tt_head_columns(head, i + b);
            int32_t *scores = line + b * fours(head->T);
            const tt_softmax found = exponentials_of_row(scores, columns, scale);
            probabilities_of_row(p + b * stride, scores, columns, found.rec, head->T);
            if (sums != NULL) {
                sums[i + b] = found;
            }
        }
    }
}

void tt_probs_columns(uint8_t *p, int32_t stride, const tt_softmax *sums, const int8_t *q,
                      const tt_matrix *k, const tt_head *head, int32_t j, int32_t n,
                      tt_scaling scale, tt_room room) {
    plain_probs_columns(p, stride, sums, q, k, head, j, n, scale, room);
}

void tt_attend(int8_t *y, const int8_t *q, const tt_matrix *k, const tt_matrix *v,
               const tt_head *head, tt_scaling score, tt_scaling mix, tt_room room) {
    if (!in_pairs(head, room) || !excludes(score)) {
        plain_attend(y, q, k, v, head, score, mix, room);
        return;
    }
    const tt_room none = {NULL, 0};
    int32_t *line = (int32_t *)(void *)room.at;
    for (int32_t i = 0; i < head->T; i += 2) {
        const int32_t two = i + 1 < head->T, last = tt_head_columns(head, i + two);
        const int8_t *row = q + tt_head_at(head, i);
        int32_t *other = line + fours(head->T);
        pair_dots(line, row, two ? row + head->C : row, k, head, last);
        const int32_t n = tt_head_columns(head, i);
        const tt_softmax first = exponentials_of_row(line, n, score);
        const tt_softmax second = exponentials_of_row(other, last, score);
        if (!can_mix(v, head, mix)) { /* probabilities replace the first bytes of exponentials */
            probabilities_of_row((uint8_t *)line, line, n, first.rec, head->T);
            probabilities_of_row((uint8_t *)other, other, last, second.rec, head->T);
            tt_mix_rows(y, (uint8_t *)line, 4 * fours(head->T), v, head, i, 1 + two, mix, none);
            continue;
        }
        for (int32_t j = fours(n); j < fours(last); j++) {
            line[j] = 0;
        }
        probability_panel(line, other, first.rec, second.rec, fours(last) >> 2);
        tt_mix_pair(y + tt_head_at(head, i), two ? head->C : 0, (uint32_t *)line, v, head, last,
                    mix);
    }
}

/* Products d of n columns become gradients of the scores. Gives r as score_gradients_of does, for any
 * n. */
TT_SMALL __attribute__((noinline)) static uint64_t some_gradients(int32_t *row, const uint8_t *p,
                                                                  int32_t n) {
    const int32_t r = weighted_total(p, row, n);
    score_gradients(row, p, n, r);
    return (uint32_t)r;
}

void tt_ds_rows(int8_t *ds, int32_t stride, int16_t *e, int32_t *r, const uint8_t *p,
                const tt_score_gradients *s, const tt_matrix *v, const tt_head *head, int32_t i,
                int32_t n, tt_room room) {
    const int pairs = in_pairs(head, room);
    int32_t *line = (int32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i += 1 + pairs) {
        const int32_t two = pairs && i + 1 < end, last = tt_head_columns(head, i + two);
        const int8_t *g = s->g + tt_head_at(head, i);
        if (pairs) {
            pair_dots(line, g, two ? g + head->C : g, v, head, last);
        } else {
            (void)row_dots(line, g, v->x, last, head->width, v->stride);
        }
        for (int32_t b = i; b <= i + two; b++, ds += stride, p += stride) {
            const int32_t columns = tt_head_columns(head, b);
            const int32_t padded = fours(columns) <= head->T ? fours(columns) : columns;
            int32_t *row = line + (b - i) * fours(head->T);
            const uint64_t found = padded & 3 ? some_gradients(row, p, columns)
                                              : score_gradients_of(row, p, padded >> 2);
            const int32_t base = s->g_exp[b] + s->exp_add;
            e[b] = tt_quantize_roughly(ds, row, padded, base * 64 + (int32_t)(found >> 32), s->key,
                                       tt_score_number(head, b, 0));
            if (r != NULL) {
                r[b] = (int32_t)(uint32_t)found;
            }
            for (int32_t j = padded; (j & 3) && j < head->T; j++) {
                ds[j] = 0;
            }
        }
    }
}

void tt_ds_columns(int8_t *ds, int32_t stride, const int16_t *e, const int32_t *r, const uint8_t *p,
                   const tt_score_gradients *s, const tt_matrix *v, const tt_head *head, int32_t j,
                   int32_t n, tt_room room) {
    plain_ds_columns(ds, stride, e, r, p, s, v, head, j, n, room);
}
