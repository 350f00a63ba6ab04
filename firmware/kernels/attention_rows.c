#include "attention_rows.h"

#include "tinytrain/tt_tables.h"

/* Four rows a pass over x. Past the last row the last one is repeated, and its product not stored. */
void tt_row_dots(int32_t *restrict out, const int8_t *restrict x, const int8_t *restrict rows,
                 int32_t n, int32_t width, int32_t C) {
    for (int32_t j = 0; j < n; j += 4) {
        const int32_t left = n - j;
        const int8_t *restrict r0 = rows + j * C;
        const int8_t *restrict r1 = r0 + (left > 1 ? C : 0);
        const int8_t *restrict r2 = r1 + (left > 2 ? C : 0);
        const int8_t *restrict r3 = r2 + (left > 3 ? C : 0);
        int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
        for (int32_t c = 0; c < width; c++) {
            const int32_t u = x[c];
            a0 += u * r0[c];
            a1 += u * r1[c];
            a2 += u * r2[c];
            a3 += u * r3[c];
        }
        const int32_t acc[4] = {a0, a1, a2, a3};
        for (int32_t b = 0; b < 4 && b < left; b++) {
            out[j + b] = acc[b];
        }
    }
}

/* acc[0..3] = sum_s w[s] * x[s, 0..3] for n rows of a matrix with C columns; columns from width on
 * repeat the last one. w is uint8, or the bytes of int8. */
static inline void weighted_columns(int32_t acc[4], const uint8_t *w, int32_t is_signed,
                                    const int8_t *restrict x, int32_t width, int32_t n, int32_t C) {
    const int32_t c1 = width > 1 ? 1 : 0, c2 = width > 2 ? 2 : c1, c3 = width > 3 ? 3 : c2;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (int32_t s = 0; s < n; s++) {
        const int32_t u = is_signed ? (int8_t)w[s] : w[s];
        const int8_t *restrict row = x + s * C;
        a0 += u * row[0];
        a1 += u * row[c1];
        a2 += u * row[c2];
        a3 += u * row[c3];
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

/* out[c] = sum_s w[s] * x[s,c], c < width. */
static inline void weighted_sum(int32_t *out, const uint8_t *w, int32_t is_signed, const int8_t *x,
                                int32_t width, int32_t n, int32_t C) {
    for (int32_t c = 0; c < width; c += 4) {
        int32_t acc[4];
        weighted_columns(acc, w, is_signed, x + c, width - c, n, C);
        for (int32_t b = 0; b < 4 && c + b < width; b++) {
            out[c + b] = acc[b];
        }
    }
}

static inline uint32_t exponential(int32_t below_top, int32_t mult, int32_t shift) {
    return tt_exp16[tt_requantize(below_top, mult, shift, 255)];
}

static inline uint8_t probability(uint32_t e, uint32_t rec) {
    return (uint8_t)((e * rec + (1u << 23)) >> 24);
}

tt_softmax tt_probs_row(uint8_t *p, int32_t *scores, const int8_t *q, const int8_t *k, int32_t n,
                        const tt_head *head, int32_t mult, int32_t shift) {
    tt_row_dots(scores, q, k, n, head->width, head->C);
    tt_softmax found = {scores[0], 0};
    for (int32_t j = 1; j < n; j++) {
        found.top = scores[j] > found.top ? scores[j] : found.top;
    }
    uint32_t sum = 0;
    for (int32_t j = 0; j < n; j++) {
        const uint32_t e = exponential(found.top - scores[j], mult, shift);
        scores[j] = (int32_t)e;
        sum += e;
    }
    found.rec = (255u << 24) / sum;
    for (int32_t j = 0; j < n; j++) {
        p[j] = probability((uint32_t)scores[j], found.rec);
    }
    return found;
}

void tt_probs_part(uint8_t *p, int32_t *scores, const int8_t *q, const int8_t *k, int32_t n,
                   const tt_head *head, int32_t mult, int32_t shift, tt_softmax known) {
    tt_row_dots(scores, q, k, n, head->width, head->C);
    for (int32_t j = 0; j < n; j++) {
        p[j] = probability(exponential(known.top - scores[j], mult, shift), known.rec);
    }
}

void tt_mix_row(int8_t *y, const uint8_t *p, const int8_t *v, int32_t n, const tt_head *head,
                int32_t mult, int32_t shift) {
    for (int32_t c = 0; c < head->width; c += 4) {
        int32_t acc[4];
        weighted_columns(acc, p, 0, v + c, head->width - c, n, head->C);
        for (int32_t b = 0; b < 4 && c + b < head->width; b++) {
            y[c + b] = (int8_t)tt_requantize(acc[b], mult, shift, 127);
        }
    }
}

int16_t tt_ds_row(int8_t *ds, int32_t *d, int32_t *r, const int8_t *g, const int8_t *v,
                  const uint8_t *p, int32_t n, const tt_head *head, int32_t base, uint32_t key,
                  uint32_t first) {
    tt_row_dots(d, g, v, n, head->width, head->C);
    int32_t sum = 0;
    for (int32_t j = 0; j < n; j++) {
        sum += p[j] * d[j];
    }
    for (int32_t j = 0; j < n; j++) {
        d[j] = tt_score_gradient(p[j], d[j], sum);
    }
    *r = sum;
    return tt_quantize_row(ds, d, n, base, key, first);
}

int16_t tt_dq_row(int8_t *gq, int32_t *acc, const int8_t *ds, const int8_t *k, int32_t n, int32_t i,
                  const tt_head *head, int32_t base, uint32_t key) {
    weighted_sum(acc, (const uint8_t *)ds, 1, k, head->width, n, head->C);
    return tt_quantize_row(gq, acc, head->width, base, key, (uint32_t)tt_head_at(head, i));
}

int16_t tt_dk_row(int8_t *gk, int32_t *acc, uint8_t *column, const int8_t *ds, int32_t stride,
                  const int16_t *e, int32_t top, const int8_t *q, int32_t j, const tt_head *head,
                  int32_t exp_add, uint32_t key, uint32_t key_rows) {
    const int32_t first = head->causal ? j : 0, n = head->T - first;
    for (int32_t i = first; i < head->T; i++) {
        column[i - first] = (uint8_t)tt_stochastic_shift(ds[i * stride], top - e[i], key_rows,
                                                         tt_score_number(head, i, j));
    }
    weighted_sum(acc, column, 1, q + first * head->C, head->width, n, head->C);
    return tt_quantize_row(gk, acc, head->width, top + exp_add, key, (uint32_t)tt_head_at(head, j));
}

void tt_align_head(int8_t *out, const int8_t *g, const int16_t *e, int32_t top, const tt_head *head,
                   uint32_t key_rows) {
    for (int32_t i = 0; i < head->T; i++) {
        const int32_t at = tt_head_at(head, i);
        for (int32_t c = 0; c < head->width; c++) {
            out[i * head->width + c] =
                tt_stochastic_shift(g[at + c], top - e[i], key_rows, (uint32_t)(at + c));
        }
    }
}

int16_t tt_dv_row(int8_t *gv, int32_t *acc, uint8_t *column, const uint8_t *p, int32_t stride,
                  const int8_t *aligned, int32_t j, const tt_head *head, int32_t base,
                  uint32_t key) {
    const int32_t first = head->causal ? j : 0, n = head->T - first, width = head->width;
    for (int32_t i = 0; i < n; i++) {
        column[i] = p[(first + i) * stride];
    }
    weighted_sum(acc, column, 0, aligned + first * width, width, n, width);
    return tt_quantize_row(gv, acc, width, base, key, (uint32_t)tt_head_at(head, j));
}

int16_t tt_join_heads(int8_t *row, const int16_t *e, int32_t i, const tt_head *head,
                      uint32_t key_heads) {
    const int16_t top = tt_largest_exponent(e, head->H);
    for (int32_t c = 0, h = 0; h < head->H; h++) {
        for (const int32_t end = c + head->width; c < end; c++) {
            row[c] =
                tt_stochastic_shift(row[c], top - e[h], key_heads, (uint32_t)(i * head->C + c));
        }
    }
    return top;
}
