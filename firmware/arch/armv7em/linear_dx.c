#include "columns.h"
#include "few_rows.h"
#include "tile.h"
#include "tinytrain/tt_linear.h"

typedef struct {
    const int8_t *g;
    const int16_t *g_exp;
    int8_t *gx;
    int16_t *gx_exp;
    int32_t C, O, T, exp_add;
    uint32_t key, first; /* number of element (0,0) */
} gradient;

/* Row t from its sums. */
static void put_gradient(const gradient *d, const int32_t *acc, int32_t t) {
    d->gx_exp[t] = tt_quantize_row(d->gx + t * d->C, acc, d->C, d->g_exp[t] + d->exp_add, d->key,
                                   d->first + (uint32_t)(t * d->C));
}

/* Sums of one row of g. The weight is whole, its rows and columns multiples of 4. */
static void one_gradient(const gradient *d, const weight *w, uint32_t *scratch) {
    int32_t *const acc = (int32_t *)(scratch + panel_words(d->O));
    expand_row(scratch, d->g, d->O / 4);
    for (int32_t i = 0; i < d->C; i += 4) {
        columns_by_row(acc + i, scratch, w->w + i, d->C, d->O / 4);
    }
    put_gradient(d, acc, 0);
}

/* Panels and sums: of `rows` rows at a time, by `columns` columns of the weight at a time. */
typedef struct {
    uint32_t *at;
    int32_t rows, columns;
} blocks;

/* Rows begin .. end - 1. */
static void by_blocks(const gradient *d, const weight *w, const blocks *b, int32_t begin,
                      int32_t end) {
    const int32_t words = panel_words(d->O), wide = panel_words(d->C), columns = b->columns;
    uint32_t *const gp = b->at, *const wp = gp + words;
    int32_t *const acc = (int32_t *)(wp + columns / 2 * words);
    tile_run run = {.x = wp};
    set_words(&run, gp, words);
    for (int32_t next, from = begin; from < end; from = next) {
        next = end - from < b->rows ? end : from + b->rows;
        for (int32_t first = 0; first < wide; first += columns) {
            if (from == begin || columns < wide) {
                const int32_t last = wide - first < columns ? wide : first + columns;
                run.x_end = expand_columns(wp, words, w, first, last);
            }
            int32_t *sums = acc + first;
            for (int32_t t = from; t < next; t += 2, sums += 2 * wide) {
                const int8_t *const row = d->g + t * d->O;
                expand(gp, row, t + 1 < next ? row + d->O : row, d->O, 0);
                run.out0 = sums;
                run.out1 = sums + wide;
                run_s32(&run);
            }
        }
        for (int32_t t = from; t < next; t++) {
            put_gradient(d, acc + (t - from) * wide, t);
        }
    }
}

/* What so many words hold, for the next `left` rows; columns < 4: too little. All of the weight, or
 * all rows, or as many rows as take 5/8. */
static blocks fitting(uint32_t *at, int32_t held, int32_t left, int32_t words, int32_t wide) {
    const int32_t even = (left + 1) & ~1, few = wide < 16 ? wide : 16;
    blocks b = {at, 2, wide};
    held -= words;
    if (held >= wide / 2 * words + 2 * wide) {
        return b;
    }
    b.rows = even;
    if (held < few / 2 * words + even * wide) {
        b.rows = held / 8 * 5 / wide & ~1;
        b.rows = b.rows < 2 ? 2 : (b.rows < even ? b.rows : even);
    }
    const int32_t over = held - b.rows * wide;
    b.columns = over > 0 ? over / (2 * words) * 4 : 0;
    b.columns = b.columns < wide ? b.columns : wide;
    return b;
}

/* Blocks in the scratch, or behind the result of the next rows where that holds more of them. */
static blocks blocks_of(const gradient *d, int32_t *scratch, int32_t room, int32_t begin) {
    const int32_t words = panel_words(d->O), wide = panel_words(d->C), left = d->T - begin;
    blocks b = fitting((uint32_t *)scratch, room / 4, left, words, wide);
    if (b.columns == wide || (b.columns >= 4 && b.rows >= left)) {
        return b;
    }
    for (int32_t rows = 16; rows >= 2; rows /= 2) {
        const int32_t behind = ((left - rows) * d->C - 3) / 4 - words - rows * wide;
        const int32_t columns = behind > 0 ? behind / (2 * words) * 4 : 0;
        if (columns >= 8 && (b.columns < 4 || rows > b.rows)) {
            const uintptr_t end = (uintptr_t)(d->gx + (begin + rows) * d->C);
            b.at = (uint32_t *)((end + 3u) & ~(uintptr_t)3u);
            b.rows = rows;
            b.columns = columns < wide ? columns : wide;
            break;
        }
    }
    return b;
}

/* acc[i] = sum_o g[o] * w[o,i], two weight rows a pass; the one behind an odd O counts 0 times. Sums
 * are written from the left, so that each product is one multiply-accumulate. */
static void input_gradient_row(int32_t *restrict acc, const int8_t *restrict g, const int8_t *w,
                               const int8_t *wt, const int16_t *rows, int32_t C, int32_t O) {
    for (int32_t i = 0; i < C; i++) {
        acc[i] = 0;
    }
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? 1 : 0;
        const int8_t *restrict w0 = weight_row(w, wt, rows, o, C);
        const int8_t *restrict w1 = weight_row(w, wt, rows, o + next, C);
        const int32_t u = g[o], v = next ? g[o + 1] : 0;
        for (int32_t i = 0; i < C; i++) {
            acc[i] = acc[i] + u * w0[i] + v * w1[i];
        }
    }
}

/* The same for two rows of g at once: four products a pair of loads of the weight. */
static void input_gradient_pair(int32_t *restrict acc0, int32_t *restrict acc1,
                                const int8_t *restrict g0, const int8_t *restrict g1,
                                const int8_t *w, const int8_t *wt, const int16_t *rows, int32_t C,
                                int32_t O) {
    for (int32_t i = 0; i < C; i++) {
        acc0[i] = 0;
        acc1[i] = 0;
    }
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? 1 : 0;
        const int8_t *restrict w0 = weight_row(w, wt, rows, o, C);
        const int8_t *restrict w1 = weight_row(w, wt, rows, o + next, C);
        const int32_t u0 = g0[o], v0 = next ? g0[o + 1] : 0;
        const int32_t u1 = g1[o], v1 = next ? g1[o + 1] : 0;
        for (int32_t i = 0; i < C; i++) {
            const int32_t a = w0[i], b = w1[i];
            acc0[i] = acc0[i] + u0 * a + v0 * b;
            acc1[i] = acc1[i] + u1 * a + v1 * b;
        }
    }
}

/* One or two rows from t on, the weight read as bytes. Gives how many. */
static int32_t by_bytes(const gradient *d, const weight *w, int32_t *acc, int32_t t) {
    const int32_t C = d->C, O = d->O, n = t + 1 < d->T ? 2 : 1;
    const int8_t *g = d->g + t * O;
    if (n == 2) {
        input_gradient_pair(acc, acc + C, g, g + O, w->w, w->wt, w->rows, C, O);
        put_gradient(d, acc + C, t + 1);
    } else {
        input_gradient_row(acc, g, w->w, w->wt, w->rows, C, O);
    }
    put_gradient(d, acc, t);
    return n;
}

void tt_linear_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                     const int8_t *w, const int8_t *wt, const int16_t *rows, int32_t *scratch,
                     const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t O,
                     int32_t exp_add, int32_t stream) {
    const gradient d = {
        g, g_exp, gx, gx_exp, C, O, T, exp_add, tt_key(st, stream), (uint32_t)(st->row * C)};
    const weight whole = {w, wt, rows, C, O};
    if (T == 1 && (rows == NULL || wt == NULL) && ((C | O) & 3) == 0 && room / 4 >= O + C) {
        one_gradient(&d, &whole, (uint32_t *)scratch);
        return;
    }
    int32_t end;
    for (int32_t begin = 0; begin < T; begin = end) {
        const blocks b = blocks_of(&d, scratch, room, begin);
        if (b.columns < 4) {
            end = begin + by_bytes(&d, &whole, scratch, begin);
            continue;
        }
        const int everything = b.columns == panel_words(C) && b.at == (uint32_t *)scratch;
        end = everything || T - begin < b.rows ? T : begin + b.rows;
        by_blocks(&d, &whole, &b, begin, end);
    }
}
