/* Sums of rows by probabilities or gradients of scores; gradients of several rows brought to one
 * exponent. */
#include "attention_rows.h"

tt_matrix tt_matrix_columns(const int8_t *x, int32_t stride, const tt_head *head, tt_room *room) {
    (void)head;
    (void)room;
    const tt_matrix m = {x, stride, NULL};
    return m;
}

/* acc[0..3] = sum_s w[s * step] * x[s, 0..3] for n rows of x, `stride` apart; columns from width on
 * repeat the last one. w is uint8, or the bytes of int8. */
static inline void weighted_columns(int32_t acc[4], const uint8_t *w, int32_t step,
                                    int32_t is_signed, const int8_t *restrict x, int32_t width,
                                    int32_t n, int32_t stride) {
    const int32_t c1 = width > 1 ? 1 : 0, c2 = width > 2 ? 2 : c1, c3 = width > 3 ? 3 : c2;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (int32_t s = 0; s < n; s++) {
        const int32_t u = is_signed ? (int8_t)w[s * step] : w[s * step];
        const int8_t *restrict row = x + s * stride;
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

/* out[c] = sum_s w[s * step] * x[s,c], c < width. */
static inline void weighted_sum(int32_t *out, const uint8_t *w, int32_t step, int32_t is_signed,
                                const int8_t *x, int32_t width, int32_t n, int32_t stride) {
    for (int32_t c = 0; c < width; c += 4) {
        int32_t acc[4];
        weighted_columns(acc, w, step, is_signed, x + c, width - c, n, stride);
        for (int32_t b = 0; b < 4 && c + b < width; b++) {
            out[c + b] = acc[b];
        }
    }
}

void tt_mix_rows(int8_t *y, const uint8_t *p, int32_t stride, const tt_matrix *v,
                 const tt_head *head, int32_t i, int32_t n, tt_scaling scale, tt_room room) {
    (void)room;
    const int32_t width = head->width;
    for (const int32_t end = i + n; i < end; i++, p += stride) {
        int8_t *row = y + tt_head_at(head, i);
        for (int32_t c = 0; c < width; c += 4) {
            int32_t acc[4];
            weighted_columns(acc, p, 1, 0, v->x + c, width - c, tt_head_columns(head, i),
                             v->stride);
            for (int32_t b = 0; b < 4 && c + b < width; b++) {
                row[c + b] = (int8_t)tt_requantize(acc[b], scale.mult, scale.shift, 127);
            }
        }
    }
}

void tt_row_sums(tt_result out, const int8_t *ds, int32_t stride, const int16_t *s_exp,
                 int32_t exp_add, const tt_matrix *x, const tt_head *head, int32_t n,
                 tt_room room) {
    int32_t *acc = (int32_t *)(void *)room.at;
    for (int32_t b = 0; b < n; b++) {
        const int32_t i = out.row + b;
        weighted_sum(acc, (const uint8_t *)ds + b * stride, 1, 1, x->x, head->width,
                     tt_head_columns(head, i), x->stride);
        out.e[b * out.e_stride] =
            tt_quantize_row(out.x + b * out.stride, acc, head->width, s_exp[i] + exp_add, out.key,
                            (uint32_t)tt_head_at(head, i));
    }
}

void tt_column_sums(tt_result out, const uint8_t *block, int32_t stride, int32_t is_signed,
                    int32_t base, const tt_matrix *x, const tt_head *head, int32_t n,
                    tt_room room) {
    int32_t *acc = (int32_t *)(void *)room.at;
    for (int32_t b = 0; b < n; b++) {
        const int32_t j = out.row + b, first = head->causal ? j : 0;
        weighted_sum(acc, block + first * stride + b, stride, is_signed, x->x + first * x->stride,
                     head->width, head->T - first, x->stride);
        out.e[b * out.e_stride] = tt_quantize_row(out.x + b * out.stride, acc, head->width, base,
                                                  out.key, (uint32_t)tt_head_at(head, j));
    }
}

/* 16 fraction bits, then the noise: floor(floor(a) + b) is floor(a + b) for whole b. */
void tt_align_row(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first) {
    if (shift == 0 || shift > 30) {
        for (int32_t c = 0; c < n; c++) {
            out[c] = shift == 0 ? x[c] : 0;
        }
        return;
    }
    const int32_t unit = shift < 16 ? 1 << (16 - shift) : 1, down = shift < 16 ? 0 : shift - 16;
    int32_t c = 0;
    if ((first & 1u) && n > 0) {
        out[0] = tt_stochastic_shift(x[0], shift, key, first);
        c = 1;
    }
    for (uint32_t number = key + ((first + 1u) >> 1) * TT_GOLDEN; c + 1 < n; c += 2) {
        const uint32_t r = tt_mix(number);
        out[c] = (int8_t)((((x[c] * unit) >> down) + (int32_t)(r & 0xFFFFu)) >> 16);
        out[c + 1] = (int8_t)((((x[c + 1] * unit) >> down) + (int32_t)(r >> 16)) >> 16);
        number += TT_GOLDEN;
    }
    if (c < n) {
        out[c] = tt_stochastic_shift(x[c], shift, key, first + (uint32_t)c);
    }
}

void tt_align_scores(int8_t *out, int32_t out_stride, const int8_t *ds, int32_t stride,
                     const int16_t *e, int32_t top, const tt_head *head, int32_t j, int32_t n,
                     uint32_t key) {
    for (int32_t i = 0; i < head->T; i++) {
        const int32_t left = tt_head_columns(head, i) - j;
        const int32_t columns = left < n ? (left > 0 ? left : 0) : n;
        int8_t *row = out + i * out_stride;
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
