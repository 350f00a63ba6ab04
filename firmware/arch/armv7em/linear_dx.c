#pragma GCC optimize("Os") /* the loops are assembly */

#include "gradient_rows.h"
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

/* `rows` rows at a time by `columns` columns of the weight at a time: a panel of two rows of g and those
 * of the columns, the sums of the first `held` rows, and of the others behind the panels. */
typedef struct {
    uint32_t *panels;
    int32_t rows, columns;
    int32_t *sums;
    int32_t held;
} blocks;

/* Rows begin .. end - 1. */
__attribute__((noinline)) static void by_blocks(const gradient *d, const weight *w, const blocks *b,
                                                int32_t begin, int32_t end) {
    const int32_t O = d->O, columns = b->columns, held = b->held;
    const int32_t words = panel_words(O), wide = panel_words(d->C);
    uint32_t *const gp = b->panels, *const wp = gp + words;
    int32_t *const others = (int32_t *)(wp + columns / 2 * words) - held * wide;
    const tile_runner run_tiles = tt_tiles_s32(words);
    const expander expand = tt_expander((uintptr_t)d->g, O, 0);
    tile_run run = {.x = wp};
    set_words(&run, gp, words);
    for (int32_t rows, from = begin; from < end; from += rows) {
        rows = end - from < b->rows ? end - from : b->rows;
        for (int32_t first = 0; first < wide; first += columns) {
            if (from == begin || columns < wide) {
                const int32_t last = wide - first < columns ? wide : first + columns;
                run.x_end = tt_expand_columns(wp, words, w, first, last);
            }
            const int8_t *row = d->g + from * O;
            for (int32_t r = 0; r < rows; r += 2, row += 2 * O) {
                expand(gp, row, r + 1 < rows ? row + O : row, O, 0);
                run.out0 = (r < held ? b->sums : others) + r * wide + first;
                run.out1 = run.out0 + wide;
                run_tiles(&run);
            }
        }
        for (int32_t r = 0; r < rows; r++) {
            put_gradient(d, (r < held ? b->sums : others) + r * wide, from + r);
        }
    }
}

#define BYTES_COST 850 /* of products without panels, above that of tiles */

/* Thousandths of an instruction a product for what is made again and again: panels of the weight for
 * each block of rows, of g for each block of columns. */
static int32_t cost_of(int32_t rows, int32_t columns) {
    return columns < 4 ? INT32_MAX : 1600 / rows + 1700 / columns;
}

/* What so many words hold: all of the weight, or all rows, or as many as take 5/8. */
static blocks fitting(uint32_t *at, int32_t size, int32_t left, int32_t words, int32_t wide) {
    const int32_t even = (left + 1) & ~1, few = wide < 16 ? wide : 16;
    blocks b = {at, 2, wide, NULL, 0};
    size -= words;
    if (size >= wide / 2 * words + 2 * wide) {
        return b;
    }
    b.rows = even;
    if (size < few / 2 * words + even * wide) {
        b.rows = size / 8 * 5 / wide & ~1;
        b.rows = b.rows < 2 ? 2 : (b.rows < even ? b.rows : even);
    }
    const int32_t over = size - b.rows * wide;
    b.columns = over > 0 ? over / (2 * words) * 4 : 0;
    b.columns = b.columns < wide ? b.columns : wide;
    return b;
}

/* In the scratch; or the panels behind the result of the next rows, and sums that the scratch does not
 * hold: what costs less. */
static blocks blocks_of(const gradient *d, int32_t *scratch, int32_t room, int32_t begin) {
    const int32_t words = panel_words(d->O), wide = panel_words(d->C), left = d->T - begin;
    blocks b = fitting((uint32_t *)scratch, room / 4, left, words, wide);
    if (b.columns == wide) {
        return b;
    }
    const int32_t held = room / 4 / wide & ~1;
    for (int32_t rows = left < 16 ? left & ~1 : 16; rows >= 4; rows -= 2) {
        const int32_t more = rows > held ? (rows - held) * wide : 0;
        const int32_t behind = ((left - rows) * d->C - 3) / 4 - words - more;
        int32_t columns = behind > 0 ? behind / (2 * words) * 4 : 0;
        columns = columns < wide ? columns : wide;
        if (cost_of(rows, columns) < cost_of(b.rows, b.columns)) {
            const uintptr_t end = (uintptr_t)(d->gx + (begin + rows) * d->C);
            b = (blocks){(uint32_t *)((end + 3u) & ~(uintptr_t)3u), rows, columns, scratch, held};
        }
    }
    return b;
}

/* One or two rows from t on, the weight read as bytes. Gives how many. */
__attribute__((noinline)) static int32_t by_bytes(const gradient *d, const weight *w, int32_t *acc,
                                                  int32_t t) {
    const int32_t C = d->C, O = d->O, n = t + 1 < d->T ? 2 : 1;
    const int8_t *const g0 = d->g + t * O, *const g1 = g0 + (n - 1) * O;
    int32_t *const acc1 = acc + (n - 1) * C; /* of one row: the same, and nothing is added */
    for (int32_t i = 0; i < n * C; i++) {
        acc[i] = 0;
    }
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? 1 : 0;
        const int8_t *const a = weight_row(w->w, w->wt, w->rows, o, C);
        const int8_t *const b = weight_row(w->w, w->wt, w->rows, o + next, C);
        const uint32_t u = dsp_pair(g0[o], next ? g0[o + 1] : 0);
        tt_add_rows(acc, acc1, a, b, u, n == 2 ? dsp_pair(g1[o], next ? g1[o + 1] : 0) : 0, C);
    }
    for (int32_t r = 0; r < n; r++) {
        put_gradient(d, acc + r * C, t + r);
    }
    return n;
}

void tt_linear_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                     const int8_t *w, const int8_t *wt, const int16_t *rows, int32_t *scratch,
                     const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t O,
                     int32_t exp_add, int32_t stream) {
    const gradient d = {
        g, g_exp, gx, gx_exp, C, O, T, exp_add, tt_key(st, stream), (uint32_t)(st->row * C)};
    const weight whole = {w, wt, rows, C, O};
    int32_t end;
    for (int32_t begin = 0; begin < T; begin = end) {
        const blocks b = blocks_of(&d, scratch, room, begin);
        const int all = b.columns == panel_words(C) && b.panels == (uint32_t *)scratch;
        end = all || T - begin < b.rows ? T : begin + b.rows;
        if (cost_of(end - begin, b.columns) > BYTES_COST) {
            end = begin + by_bytes(&d, &whole, scratch, begin);
            continue;
        }
        by_blocks(&d, &whole, &b, begin, end);
    }
}
