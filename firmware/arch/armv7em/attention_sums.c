#pragma GCC optimize("Os") /* the loops are assembly */

/* Sums of rows by probabilities and by gradients of scores: products of int16 panels, two rows at a
 * time. The panel of a matrix holds pairs of its columns, four rows after the other. */
#include "attention_small.h"

#include "../../kernels/attention_loops.h"
#include "attention_products.h"
#include "attention_tiles.h"
#include "tinytrain/tt_rows.h"

/* n bytes, fewer than four, from `at` on, 0 behind. */
static uint32_t some_bytes(const uint8_t *at, int32_t n) {
    uint32_t word = 0;
    for (int32_t c = 0; c < n; c++) {
        word |= (uint32_t)at[c] << (8 * c);
    }
    return word;
}

uint32_t *tt_expand_pair(uint32_t *p, const void *a, const void *b, int32_t n, int32_t is_signed) {
    uint32_t *(*const expand)(uint32_t *, const void *, const void *, int32_t) =
        is_signed ? expand_signed : expand_unsigned;
    const int32_t done = n & ~3;
    if (done > 0) {
        p = expand(p, a, b, done >> 2);
    }
    if (done < n) {
        const uint32_t u = some_bytes((const uint8_t *)a + done, n - done);
        const uint32_t v = some_bytes((const uint8_t *)b + done, n - done);
        p = expand(p, &u, &v, 1);
    }
    return p;
}

/* The same of any n rows, from row i on, and of `width` columns: 0 behind them. */
TT_SMALL __attribute__((noinline)) static void transpose_rest(uint32_t *p, const int8_t *x,
                                                              int32_t stride, int32_t n,
                                                              int32_t width, int32_t is_signed,
                                                              int32_t i) {
    for (; i < fours(n); i++) {
        for (int32_t c = 0; c < 4; c++) {
            const int32_t a = i < n && c < width ? x[i * stride + c] : 0;
            int16_t *pair = (int16_t *)(p + (c >> 1) * fours(n) + (i & ~3));
            pair[((i & 1) * 2 + (c & 1)) * 2 + ((i >> 1) & 1)] =
                (int16_t)(is_signed ? a : (uint8_t)a);
        }
    }
}

static inline void transpose_four(uint32_t *p, const int8_t *x, int32_t stride, int32_t n,
                                  int32_t width, int32_t is_signed) {
    const int32_t whole = width >= 4 ? n & ~3 : 0;
    if (whole > 0 && is_signed) {
        transpose_signed(p, x, stride, n);
    } else if (whole > 0) {
        transpose_unsigned(p, x, stride, n);
    }
    if (whole < n) {
        transpose_rest(p, x, stride, n, width, is_signed, whole);
    }
}

/* Panels of four columns each. Where not all of them fit, the last place is that of those which are
 * made when they are needed; `held` is how many stay. */
tt_matrix tt_matrix_columns(const int8_t *x, int32_t stride, const tt_head *head, tt_room *room) {
    tt_matrix m = {x, stride, NULL, 0};
    const int32_t words = fours(head->T), all = fours(head->width) >> 2;
    const int32_t fit = (room->bytes - work_bytes(head)) / (8 * words);
    uint32_t *panel = take_panel(room, 8 * words * (fit < all ? (fit > 0 ? fit : 0) : all), head);
    m.panel = panel;
    m.held = fit < all ? fit - 1 : all;
    for (int32_t c = 0; panel != NULL && c < m.held; c++, panel += 2 * words) {
        transpose_four(panel, x + 4 * c, stride, head->T, head->width - 4 * c, 1);
    }
    return m;
}

/* Products of two rows w, n elements, and all columns of m from row `first` on; both multiples of 4.
 * `line`: where a room begins. Gives two rows of sums in it. */
__attribute__((noinline)) static int32_t *column_products(uint32_t *line, const uint32_t *w,
                                                          const tt_matrix *m, const tt_head *head,
                                                          int32_t first, int32_t n) {
    const int32_t words = fours(head->T), pairs = (head->width + 1) >> 1;
    product_run *run = run_of(line, head);
    int32_t *acc = (int32_t *)line + 2 * words;
    run->skip = 4 * (words - n);
    run->w = w;
    run->w_end = w + n;
    run->out0 = acc;
    run->out1 = acc + fours(head->width);
    for (int32_t c = 0; c < pairs;) {
        int32_t end = 2 * m->held;
        const uint32_t *x = m->panel;
        if (c >= end) {
            x += 2 * m->held * words;
            transpose_four((uint32_t *)x, m->x + 2 * c, m->stride, head->T, head->width - 2 * c, 1);
            end = c + 2;
        }
        end = end < pairs ? end : pairs;
        run->x = x + first;
        run->x_end = run->x + (end - c) * words;
        tt_products(run);
        c = end;
    }
    return acc;
}

void tt_mix_pair(int8_t *y, int32_t second, uint32_t *p, const tt_matrix *v, const tt_head *head,
                 int32_t n, tt_scaling scale) {
    const int32_t *acc = column_products(p, p, v, head, 0, fours(n));
    put_codes(y, acc, head->width, scale.mult, scale.shift - 32);
    put_codes(y + second, acc + fours(head->width), head->width, scale.mult, scale.shift - 32);
}

void tt_mix_rows(int8_t *y, const uint8_t *p, int32_t stride, const tt_matrix *v,
                 const tt_head *head, int32_t i, int32_t n, tt_scaling scale, tt_room room) {
    const int pairs = can_mix(v, head, scale) && room.bytes >= work_bytes(head);
    uint32_t *panel = (uint32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i += 1 + pairs, p += (1 + pairs) * stride) {
        const int32_t two = pairs && i + 1 < end, last = tt_head_columns(head, i + two);
        if (!pairs) {
            weighted_codes(y + tt_head_at(head, i), p, v->x, head->width, last, v->stride, scale);
            continue;
        }
        tt_expand_pair(panel, p, p + (two ? stride : 0), last, 0);
        tt_mix_pair(y + tt_head_at(head, i), two ? head->C : 0, panel, v, head, last, scale);
    }
}

/* A row of sums -> row b of the result. */
static inline void put_sums(const tt_result *out, const int32_t *acc, int32_t b, int32_t base,
                            const tt_head *head) {
    out->e[b * out->e_stride] = tt_quantize_row(out->x + b * out->stride, acc, head->width, base,
                                                out->key, (uint32_t)tt_head_at(head, out->row + b));
}

static int has_room(const tt_matrix *x, const tt_head *head, tt_room room) {
    return x->panel != NULL && room.bytes >= work_bytes(head);
}

void tt_row_sums(const tt_result *out, const int8_t *ds, int32_t stride, const int16_t *s_exp,
                 int32_t exp_add, const tt_matrix *x, const tt_head *head, int32_t n,
                 tt_room room) {
    const int pairs = has_room(x, head, room);
    uint32_t *panel = (uint32_t *)(void *)room.at;
    for (int32_t b = 0; b < n; b += 1 + pairs, ds += (1 + pairs) * stride) {
        const int32_t i = out->row + b, two = pairs && b + 1 < n;
        const int32_t last = tt_head_columns(head, i + two);
        int32_t *acc = (int32_t *)panel;
        if (pairs) {
            tt_expand_pair(panel, ds, ds + (two ? stride : 0), last, 1);
            acc = column_products(panel, panel, x, head, 0, fours(last));
        } else {
            weighted_sum(acc, (const uint8_t *)ds, 1, 1, x->x, head->width, last, x->stride);
        }
        for (int32_t r = 0; r <= two; r++) {
            put_sums(out, acc + r * fours(head->width), b + r, s_exp[i + r] + exp_add, head);
        }
    }
}

void tt_column_sums(const tt_result *out, const uint8_t *block, int32_t stride, int32_t is_signed,
                    int32_t base, const tt_matrix *x, const tt_head *head, int32_t n,
                    tt_room room) {
    const int pairs = has_room(x, head, room) && !(head->causal && (out->row & 3));
    const int32_t T = head->T;
    uint32_t *panel = (uint32_t *)(void *)room.at;
    for (int32_t b = 0; b < n; b += pairs ? 4 : 1) {
        const int32_t first = head->causal ? out->row + b : 0, rows = fours(T) - first;
        if (!pairs) {
            weighted_sum((int32_t *)panel, block + first * stride + b, stride, is_signed,
                         x->x + first * x->stride, head->width, T - first, x->stride);
            put_sums(out, (const int32_t *)panel, b, base, head);
            continue;
        }
        transpose_four(panel, (const int8_t *)block + first * stride + b, stride, T - first,
                       stride - b, is_signed);
        for (int32_t c = b; c < n && c < b + 4; c += 2) {
            const uint32_t *w = panel + (c > b ? rows : 0);
            const int32_t *acc = column_products(panel, w, x, head, first, rows);
            for (int32_t r = 0; r < 2 && c + r < n; r++) {
                put_sums(out, acc + r * fours(head->width), c + r, base, head);
            }
        }
    }
}
