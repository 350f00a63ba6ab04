#include "columns.h"
#include "few_rows.h"
#include "quantize.h"

/* Sums of one row of g, as row 0 of tiles. The weight is whole, its rows and columns multiples of 4. */
static void one_gradient(int32_t *acc, uint32_t *gp, const int8_t *g, const int8_t *w, int32_t C,
                         int32_t O) {
    expand_row(gp, g, O / 4);
    for (int32_t i = 0; i < C; i += 4) {
        columns_by_row(acc + 2 * i, gp, w + i, C, O / 4);
    }
}

typedef struct {
    const int8_t *g;
    const int16_t *g_exp;
    int8_t *gx;
    int16_t *gx_exp;
    int32_t C, O, T, exp_add;
    uint32_t key, first; /* number of element (0,0) */
} gradient;

/* Rows t and, where it exists, t + 1 from their tiles. */
static void put_gradients(const gradient *d, const int32_t *acc, int32_t t) {
    const int32_t C = d->C, both = t + 1 < d->T ? 2 : 1;
    const uint64_t peaks = tile_peaks(acc, panel_words(C) / 4);
    const uint32_t peak[2] = {(uint32_t)peaks, (uint32_t)(peaks >> 32)};
    for (int32_t r = 0; r < both; r++) {
        const int32_t at = t + r;
        d->gx_exp[at] =
            quantize_tiles(d->gx + at * C, acc + 2 * r, peak[r], C, d->g_exp[at] + d->exp_add,
                           d->key, d->first + (uint32_t)(at * C));
    }
}

/* Panel of rows t, t + 1 of g. */
static uint32_t *expand_gradients(uint32_t *p, const gradient *d, int32_t t) {
    const int8_t *row = d->g + t * d->O;
    return expand(p, row, t + 1 < d->T ? row + d->O : row, d->O, 0);
}

/* `rows` rows at a time, their sums held, by `columns` columns of the weight, their panels held. */
static void by_blocks(const gradient *d, const weight *w, uint32_t *scratch, int32_t rows,
                      int32_t columns) {
    const int32_t words = panel_words(d->O), wide = panel_words(d->C);
    const tile_function run_tiles = tile_s32(words);
    uint32_t *const gp = scratch, *const wp = gp + words;
    int32_t *const acc = (int32_t *)(wp + columns / 2 * words);
    tile_run run = {.x = wp, .w = gp, .w_end = wp, .stride = 16};
    for (int32_t begin = 0; begin < d->T; begin += rows) {
        const int32_t end = d->T - begin < rows ? d->T : begin + rows;
        for (int32_t first = 0; first < wide; first += columns) {
            const int32_t last = wide - first < columns ? wide : first + columns;
            if (begin == 0 || columns < wide) {
                uint32_t *p = wp;
                for (int32_t i = first; i < last; i += 4, p += 2 * words) {
                    expand_columns(p, p + words, w, i);
                }
                run.x_end = p;
            }
            int32_t *sums = acc + 2 * first;
            for (int32_t t = begin; t < end; t += 2, sums += 2 * wide) {
                expand_gradients(gp, d, t);
                run.out = sums;
                run_tiles(&run);
            }
        }
        for (int32_t t = begin; t < end; t += 2) {
            put_gradients(d, acc + (t - begin) * wide, t);
        }
    }
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

/* Two rows at a time, the weight read as bytes. */
static void by_pairs(const gradient *d, const weight *w, int32_t *acc) {
    const int32_t C = d->C, O = d->O;
    for (int32_t t = 0; t < d->T; t += 2) {
        const int8_t *g = d->g + t * O;
        const int32_t both = t + 1 < d->T ? 2 : 1;
        if (both == 2) {
            input_gradient_pair(acc, acc + C, g, g + O, w->w, w->wt, w->rows, C, O);
        } else {
            input_gradient_row(acc, g, w->w, w->wt, w->rows, C, O);
        }
        for (int32_t r = 0; r < both; r++) {
            const int32_t at = t + r;
            d->gx_exp[at] =
                tt_quantize_row(d->gx + at * C, acc + r * C, C, d->g_exp[at] + d->exp_add, d->key,
                                d->first + (uint32_t)(at * C));
        }
    }
}

void tt_linear_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                     const int8_t *w, const int8_t *wt, const int16_t *rows, int32_t *scratch,
                     const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t O,
                     int32_t exp_add, int32_t stream) {
    const gradient d = {
        g, g_exp, gx, gx_exp, C, O, T, exp_add, tt_key(st, stream), (uint32_t)(st->row * C)};
    const weight whole = {w, wt, rows, C, O};
    const int32_t words = panel_words(O), columns = panel_words(C);
    uint32_t *const p = (uint32_t *)scratch;
    if (T == 1 && (rows == NULL || wt == NULL) && ((C | O) & 3) == 0 &&
        room / 4 >= words + 2 * columns) {
        one_gradient((int32_t *)(p + words), p, g, w, C, O);
        put_gradients(&d, (int32_t *)(p + words), 0);
        return;
    }
    /* All of the weight and two rows, or all rows and 16 columns: what is smaller. */
    const int32_t left = room / 4 - words, even = (T + 1) & ~1;
    const int32_t few = columns < 16 ? columns : 16;
    const int32_t by_weight = columns / 2 * words + 2 * columns;
    const int32_t by_rows = few / 2 * words + even * columns;
    int32_t held = 2, block = columns;
    if (by_rows < by_weight) {
        held = even;
        block = few;
    }
    if (by_weight > left && by_rows > left) {
        held = (left - left / 4) / (2 * columns) * 2;
        held = held < 2 ? 2 : (held < even ? held : even);
        block = left > held * columns ? (left - held * columns) / (2 * words) * 4 : 0;
        block = block < columns ? block : columns;
    }
    if (block >= 4 && (held >= 4 || block == columns)) {
        by_blocks(&d, &whole, p, held, block);
    } else {
        by_pairs(&d, &whole, scratch);
    }
}
