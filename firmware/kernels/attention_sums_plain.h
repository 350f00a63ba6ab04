/* Sums of rows, and gradients brought to another exponent, in plain C: the functions of attention_rows.h, or, for an arch that has
 * its own and defines TT_ARCH_ATTENTION, static ones named plain_* for where there is no room. */
#ifndef TT_ATTENTION_SUMS_PLAIN_H
#define TT_ATTENTION_SUMS_PLAIN_H

#include "attention_rows.h"

#ifdef TT_ARCH_ATTENTION
#define PLAIN(type, name) TT_SMALL __attribute__((noinline, unused)) static type plain_##name
#else
#define PLAIN(type, name) type tt_##name
#endif

/* acc[0..3] = sum_s w[s * step] * x[s, 0..3] for n rows of x, `stride` apart; columns from width on
 * repeat the last one. w is uint8, or the bytes of int8. */
static inline void weighted_columns(int32_t acc[4], const uint8_t *w, int32_t step,
                                    int32_t is_signed, const int8_t *restrict x, int32_t width,
                                    int32_t n, int32_t stride) {
    const int32_t c1 = width > 1 ? 1 : 0, c2 = width > 2 ? 2 : c1, c3 = width > 3 ? 3 : c2;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (int32_t s = 0; width >= 4 && s < n; s++, w += step, x += stride) {
        const int32_t u = is_signed ? (int8_t)w[0] : w[0];
        a0 += u * x[0];
        a1 += u * x[1];
        a2 += u * x[2];
        a3 += u * x[3];
    }
    for (int32_t s = 0; width < 4 && s < n; s++) {
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

PLAIN(void, mix_rows)(int8_t *y, const uint8_t *p, int32_t stride, const tt_matrix *v,
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

/* 16 fraction bits, then the noise: floor(floor(a) + b) is floor(a + b) for whole b. */
PLAIN(void, align_row)(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                       uint32_t first) {
    if (shift == 0 || shift > 30) {
        for (int32_t c = 0; c < n && !(shift == 0 && out == x); c++) {
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

#endif
