/* Softmax, forward and backward, two rows at a time: products of int16 panels, DSP instructions. */
#define TT_ARCH_ATTENTION
#include "../../kernels/attention_rows_plain.h"
#include "attention_tiles.h"
#include "quantize.h"
#include "softmax.h"

tt_matrix tt_matrix_rows(const int8_t *x, const tt_head *head, tt_room *room) {
    tt_matrix m = {x + tt_head_at(head, 0), head->C, NULL};
    const int32_t words = panel_words(head->width), pairs = (head->T + 1) / 2;
    uint32_t *panel = take_panel(room, 4 * words * pairs, head);
    m.panel = panel;
    for (int32_t i = 0; panel != NULL && i < head->T; i += 2) {
        const int8_t *row = m.x + i * m.stride;
        panel = expand(panel, row, i + 1 < head->T ? row + m.stride : row, head->width, 0);
    }
    return m;
}

/* Whether rows can go in pairs. */
static int in_pairs(const tt_matrix *m, const tt_head *head, tt_room room) {
    return m->panel != NULL && room.bytes >= line_bytes(head) + 4 * panel_words(head->width);
}

/* Products of rows a and b with `columns` rows of m, and up to one behind them, as pairs of rows. */
static void pair_dots(int32_t *line, const int8_t *a, const int8_t *b, const tt_matrix *m,
                      const tt_head *head, int32_t columns) {
    const int32_t words = panel_words(head->width);
    uint32_t *x = (uint32_t *)line + line_bytes(head) / 4;
    any_run run;
    run.x = m->panel;
    run.x_end = run.x + (columns + 1) / 2 * words;
    run.skip = 0;
    run.w = x;
    run.w_end = x + words;
    run.out = line;
    expand(x, a, b, head->width, 0);
    tt_products(&run);
}

/* The softmax of a row of n scores, which become exponentials; then zeros up to column end. */
static tt_softmax exponentials_of_row(int32_t *row, int32_t top, int32_t n, int32_t end,
                                      tt_scaling scale) {
    const int32_t shift = scale.shift - 32, half = (int32_t)(1u << (shift - 1)), turns = n >> 2;
    for (int32_t j = 4 * turns; j < n; j++) {
        const int32_t a = row[tile_word(j)];
        top = a > top ? a : top;
    }
    uint32_t sum = 0;
    if (turns > 0) {
        sum = tile_exponentials(row, top, scale.mult, half, shift, turns, tt_exp16);
    }
    for (int32_t j = 4 * turns; j < n; j++) {
        const int32_t below = top - row[tile_word(j)];
        const int32_t t = ((int32_t)(((int64_t)below * scale.mult) >> 32) + half) >> shift;
        const uint32_t e = tt_exp16[t > 255 ? 255 : t];
        row[tile_word(j)] = (int32_t)e;
        sum += e;
    }
    for (int32_t j = n; j < end; j++) {
        row[tile_word(j)] = 0;
    }
    const tt_softmax found = {top, (255u << 24) / sum};
    return found;
}

/* Rows i and, if two, i + 1: scores, then exponentials with zeros up to a multiple of 4. */
static void pair_exponentials(tt_softmax found[2], int32_t *line, const int8_t *q,
                              const tt_matrix *k, const tt_head *head, int32_t i, int32_t two,
                              tt_scaling scale) {
    const int32_t n = tt_head_columns(head, i), last = tt_head_columns(head, i + two);
    const int32_t turns = n >> 2, end = (last + 3) & ~3;
    const int8_t *row = q + tt_head_at(head, i);
    pair_dots(line, row, two ? row + head->C : row, k, head, last);
    int32_t top[2] = {INT32_MIN, INT32_MIN};
    if (turns > 0) {
        const uint64_t tops = tile_tops(line, turns);
        top[0] = (int32_t)(uint32_t)tops;
        top[1] = (int32_t)(tops >> 32);
    }
    found[0] = exponentials_of_row(line, top[0], n, end, scale);
    if (two) {
        if (last >> 2 > turns) { /* the row has four columns more than were looked at */
            for (int32_t j = 4 * turns; j < 4 * turns + 4; j++) {
                const int32_t a = line[2 + tile_word(j)];
                top[1] = a > top[1] ? a : top[1];
            }
        }
        found[1] = exponentials_of_row(line + 2, top[1], last, end, scale);
    }
}

/* n probabilities of a row, and zeros up to a multiple of 4 and column end. */
static void probabilities_of_row(uint8_t *p, const int32_t *row, int32_t n, uint32_t rec,
                                 int32_t end) {
    if (n >> 2) {
        tile_probabilities(p, row, rec, n >> 2);
    }
    for (int32_t j = n & ~3; j < n; j++) {
        p[j] = (uint8_t)(((uint32_t)row[tile_word(j)] * rec + (1u << 23)) >> 24);
    }
    for (int32_t j = n; (j & 3) && j < end; j++) {
        p[j] = 0;
    }
}

void tt_probs_rows(uint8_t *p, int32_t stride, tt_softmax *sums, const int8_t *q,
                   const tt_matrix *k, const tt_head *head, int32_t i, int32_t n, tt_scaling scale,
                   tt_room room) {
    if (!in_pairs(k, head, room) || scale.shift <= 32) {
        plain_probs_rows(p, stride, sums, q, k, head, i, n, scale, room);
        return;
    }
    int32_t *line = (int32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i += 2, p += 2 * stride) {
        const int32_t two = i + 1 < end;
        tt_softmax found[2];
        pair_exponentials(found, line, q, k, head, i, two, scale);
        for (int32_t b = 0; b <= two; b++) {
            probabilities_of_row(p + b * stride, line + 2 * b, tt_head_columns(head, i + b),
                                 found[b].rec, head->T);
            if (sums != NULL) {
                sums[i + b] = found[b];
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
    if (!in_pairs(k, head, room) || !can_mix(v, head, mix) || score.shift <= 32) {
        plain_attend(y, q, k, v, head, score, mix, room);
        return;
    }
    int32_t *line = (int32_t *)(void *)room.at;
    for (int32_t i = 0; i < head->T; i += 2) {
        const int32_t two = i + 1 < head->T, last = tt_head_columns(head, i + two);
        tt_softmax found[2] = {{0, 0}, {0, 0}};
        pair_exponentials(found, line, q, k, head, i, two, score);
        tile_probability_panel(line, found[0].rec, found[1].rec, (last + 3) >> 2);
        tt_mix_pair(y + tt_head_at(head, i), two ? head->C : 0, (const uint32_t *)line, v, head,
                    last, mix);
    }
}

/* Gradient of the scores of a row of n products with the values; gives its exponent. */
static int16_t gradients_of_row(int8_t *ds, int32_t *row, int32_t *r, const uint8_t *p, int32_t n,
                                int32_t end, int32_t base, uint32_t key, uint32_t first) {
    const int32_t turns = n >> 2;
    int32_t sum = turns > 0 ? tile_weighted(row, p, turns) : 0;
    for (int32_t j = 4 * turns; j < n; j++) {
        sum += p[j] * row[tile_word(j)];
    }
    *r = sum;
    uint32_t peak = turns > 0 ? tile_score_gradients(row, p, 128 - sum, turns) : 0;
    for (int32_t j = 4 * turns; j < n; j++) {
        const int32_t d = row[tile_word(j)], a = p[j] * (d + ((128 - sum - d) >> 8));
        row[tile_word(j)] = a;
        peak |= (uint32_t)(a ^ (a >> 31));
    }
    const int32_t padded = (n + 3) & ~3;
    if (padded > end) {
        const int16_t e = quantize_tiles(ds, row, peak, n, base, key, first);
        for (int32_t j = n; j < end; j++) {
            ds[j] = 0;
        }
        return e;
    }
    for (int32_t j = n; j < padded; j++) {
        row[tile_word(j)] = 0;
    }
    return quantize_tiles(ds, row, peak, padded, base, key, first);
}

void tt_ds_rows(int8_t *ds, int32_t stride, int16_t *e, int32_t *r, const uint8_t *p,
                const tt_score_gradients *s, const tt_matrix *v, const tt_head *head, int32_t i,
                int32_t n, tt_room room) {
    if (!in_pairs(v, head, room)) {
        plain_ds_rows(ds, stride, e, r, p, s, v, head, i, n, room);
        return;
    }
    int32_t *line = (int32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i += 2, ds += 2 * stride, p += 2 * stride) {
        const int32_t two = i + 1 < end;
        const int8_t *g = s->g + tt_head_at(head, i);
        pair_dots(line, g, two ? g + head->C : g, v, head, tt_head_columns(head, i + two));
        for (int32_t b = 0; b <= two; b++) {
            int32_t sum;
            e[i + b] = gradients_of_row(
                ds + b * stride, line + 2 * b, &sum, p + b * stride, tt_head_columns(head, i + b),
                head->T, s->g_exp[i + b] + s->exp_add, s->key, tt_score_number(head, i + b, 0));
            if (r != NULL) {
                r[i + b] = sum;
            }
        }
    }
}

void tt_ds_columns(int8_t *ds, int32_t stride, const int16_t *e, const int32_t *r, const uint8_t *p,
                   const tt_score_gradients *s, const tt_matrix *v, const tt_head *head, int32_t j,
                   int32_t n, tt_room room) {
    plain_ds_columns(ds, stride, e, r, p, s, v, head, j, n, room);
}
