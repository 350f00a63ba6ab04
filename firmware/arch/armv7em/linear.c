#include "columns.h"
#include "few_rows.h"
#include "requantize.h"
#include "tile.h"

#define FEW_ROWS 3 /* so many rows leave the weight as bytes */
#define PRODUCT (127 * 127)

/* x . w of columns from i on. */
static int32_t dot_rest(const int8_t *x, const int8_t *w, int32_t i, int32_t C) {
    int32_t sum = 0;
    for (; i + 4 <= C; i += 4) {
        const uint32_t u = dsp_load(x + i), v = dsp_load(w + i);
        sum = dsp_dot(dsp_even(u), dsp_even(v), sum);
        sum = dsp_dot(dsp_odd(u), dsp_odd(v), sum);
    }
    for (; i < C; i++) {
        sum += x[i] * w[i];
    }
    return sum;
}

/* Products of one or two rows of x, whose panel is run->x, by rows o .. o + n - 1 of the weight, n
 * even; so many steps of so many columns. */
static void dots(const layer *l, few_rows *run, int32_t two, int32_t o, int32_t n, int32_t steps,
                 int32_t columns) {
    const int together = l->rows == NULL || l->wt == NULL;
    run->turns = (steps + 3) / 4;
    run->left_out = -steps & 3;
    run->pairs = together ? n / 2 : 1;
    run->skip = 2 * l->C - steps * columns;
    for (int32_t i = 0; i < n; i += 2 * run->pairs) {
        const int8_t *const w0 = row_of(l, o + i), *const w1 = row_of(l, o + i + 1);
        few_rows part = *run;
        part.sums += i;
        if (two) {
            dots_of_two(&part, w0, w1);
        } else {
            dots_of_one(&part, w0, w1);
        }
    }
}

/* Rows t and, where there are two, t + 1 of x by all rows of the weight; xp: for their panel, or NULL. */
__attribute__((noinline)) static void few(const layer *l, uint32_t *xp, int32_t t, int32_t two) {
    const int32_t C = l->C, O = l->O, columns = two ? 4 : 8;
    const int aligned = (((uintptr_t)l->w | (uintptr_t)l->wt | (uintptr_t)C) & 3u) == 0;
    const int32_t steps = xp != NULL && (two || aligned) ? C / columns : 0, done = steps * columns;
    const int8_t *const x0 = l->x + t * C, *const x1 = x0 + two * C;
    if (steps > 0 && two) {
        expand(xp, x0, x1, C, 0);
    } else if (steps > 0) {
        expand_row(xp, x0, done / 4);
    }
    for (int32_t o = 0, n; o < O; o += n) {
        int32_t sums[2 * SUMS];
        few_rows run = {.x = xp, .sums = sums};
        n = O - o < SUMS ? (O - o > 1 ? (O - o) & ~1 : 1) : SUMS;
        if (steps > 0 && n > 1) {
            dots(l, &run, two, o, n, steps, columns);
        }
        for (int32_t i = 0; i < n; i++) {
            const int32_t from = steps > 0 && n > 1 ? done : 0;
            if (from < C) {
                const int8_t *const w = row_of(l, o + i);
                sums[i] = (from > 0 ? sums[i] : 0) + dot_rest(x0, w, from, C);
                sums[SUMS + i] = (from > 0 ? sums[SUMS + i] : 0) + dot_rest(x1, w, from, C);
            }
        }
        for (int32_t r = 0; r <= two; r++) {
            put_row(l, sums + SUMS * r, t + r, o, n);
        }
    }
}

/* Two rows of x without a panel. */
__attribute__((noinline)) static void two_rows(const layer *l, int32_t t) {
    const int32_t C = l->C, steps = C / 4;
    const int8_t *const x0 = l->x + t * C, *const x1 = x0 + C;
    for (int32_t o = 0; o < l->O; o += 2) {
        const int32_t next = o + 1 < l->O ? 1 : 0;
        const int8_t *const w0 = row_of(l, o), *const w1 = row_of(l, o + next);
        int32_t sums[4] = {0, 0, 0, 0};
        if (steps > 0) {
            dots_of_bytes(x0, x1, w0, w1, steps, sums);
        }
        for (int32_t i = 4 * steps; i < C; i++) {
            sums[0] += x0[i] * w0[i];
            sums[1] += x0[i] * w1[i];
            sums[2] += x1[i] * w0[i];
            sums[3] += x1[i] * w1[i];
        }
        put_row(l, sums, t, o, 1 + next);
        put_row(l, sums + 2, t + 1, o, 1 + next);
    }
}

/* Rows t .. end - 1, whose panels begin at run->x, by two rows of the weight, or by one that is
 * repeated; the sums are worth 2^k. */
__attribute__((noinline)) static void plain_tiles(const layer *l, tile_run *run, int32_t t,
                                                  int32_t end, int32_t o, int32_t k) {
    const int32_t words = (int32_t)(run->w_end - run->w);
    const int32_t stride = run->stride;
    int32_t sums[2 * SUMS];
    for (int32_t n; t < end; t += n, run->x = run->x_end) {
        n = end - t < SUMS ? end - t : SUMS;
        run->x_end = run->x + (n + 1) / 2 * words;
        run->out0 = sums;
        run->out1 = sums + SUMS;
        run_s32(run);
        put_column(l, sums, t, n, o, k);
        if (o + 1 < l->O) {
            put_column(l, sums + SUMS, t, n, o + 1, k);
        }
    }
    run->stride = stride;
}

/* Sums are scaled by 2^(48 - shift), so that requantization is a shift by 48; x takes 2^k of it,
 * k <= 8, the rows of w the rest. */
static int32_t scale_of_x(const layer *l) {
    int32_t k = 8;
    for (int32_t o = 0; o < (l->per_channel ? l->O : 1); o++) {
        const int32_t own = 48 - l->shift[o];
        k = own >= 0 && own < k ? own : k;
    }
    while (k > 0 && l->C > (INT32_MAX >> k) / PRODUCT) {
        k--;
    }
    return k;
}

/* Largest bias with which scaled sums stay in int32 and scaled weights in int16; < 0: none. */
static inline int32_t bias_limit(int32_t shift, int32_t C, int32_t k) {
    const int32_t own = 48 - shift;
    return own >= k && own - k <= 8 ? (INT32_MAX >> own) - C * PRODUCT : -1;
}

/* Rows begin .. end - 1, whose panels are at xp, by all rows of the weight. */
__attribute__((noinline)) static void many_rows(const layer *l, uint32_t *wp, uint32_t *xp,
                                                int32_t begin, int32_t end, int32_t k) {
    const int32_t words = panel_words(l->C), C = l->C;
    const int32_t paired = (end - begin) & ~1;
    tile_run run = {
        .mult = {l->mult[0], l->mult[0]}, .stride = l->O, .ones = 0x01010101u, .half = 0x7F8000};
    set_words(&run, wp, words);
    int32_t own = 48 - l->shift[0], limit = bias_limit(l->shift[0], C, k);
    for (int32_t o = 0; o < l->O; o += 2) {
        const int32_t next = o + 1 < l->O ? 1 : 0;
        const int8_t *const w0 = row_of(l, o);
        const int8_t *const w1 = row_of(l, o + next);
        const int32_t b0 = bias_of(l->b, l->bt, l->rows, o);
        const int32_t b1 = bias_of(l->b, l->bt, l->rows, o + next);
        if (l->per_channel) {
            run.mult[0] = l->mult[o];
            run.mult[1] = l->mult[o + next];
            own = 48 - l->shift[o];
            limit = own == 48 - l->shift[o + next] ? bias_limit(l->shift[o], C, k) : -1;
        }
        run.x = xp;
        run.x_end = xp + paired / 2 * words;
        if (l->y8 != NULL && next && tt_abs(b0) <= limit && tt_abs(b1) <= limit) {
            run.bias[0] = (int32_t)((uint32_t)b0 << own);
            run.bias[1] = (int32_t)((uint32_t)b1 << own);
            run.out = l->y8 + begin * l->O + o;
            expand(wp, w0, w1, C, own - k);
            if (paired > 0) {
                run_s8(&run);
            }
            if (begin + paired < end) {
                run.x = run.x_end;
                plain_tiles(l, &run, end - 1, end, o, own);
            }
        } else {
            expand(wp, w0, w1, C, 0);
            plain_tiles(l, &run, begin, end, o, k);
        }
    }
}

/* Where panels lie, and of how many pairs of rows of x beside one of the weight; < 0: not even that. */
typedef struct {
    uint32_t *at;
    int32_t pairs;
} panels;

/* In the scratch, or behind the result of the next rows where that holds more. */
static panels panels_of(const layer *l, int32_t *scratch, int32_t room, int32_t begin, int32_t T) {
    const int32_t pair = 4 * panel_words(l->C), left = T - begin;
    const int32_t row = l->O * (l->y8 != NULL ? 1 : 2), behind = left * row - 3 - pair;
    panels p = {(uint32_t *)scratch, room / pair - 1};
    const int32_t pairs = behind / (pair + 2 * row);
    if (pairs > 0 && pairs > p.pairs) {
        p.pairs = pairs;
        const uintptr_t y = l->y8 != NULL ? (uintptr_t)l->y8 : (uintptr_t)l->y16;
        p.at = (uint32_t *)((y + (uint32_t)((begin + 2 * p.pairs) * row) + 3u) & ~(uintptr_t)3u);
    }
    return p;
}

static void linear(const layer *l, int32_t *scratch, int32_t room, int32_t T) {
    const int32_t C = l->C, words = panel_words(C);
    const int32_t k = T > FEW_ROWS ? scale_of_x(l) : 0;
    int32_t end;
    for (int32_t begin = 0; begin < T; begin = end) {
        const panels p = panels_of(l, scratch, room, begin, T);
        if (T - begin <= FEW_ROWS || p.pairs < 2) {
            end = begin + 1 < T ? begin + 2 : T;
            if (p.pairs < 0 && end == begin + 2) {
                two_rows(l, begin);
            } else {
                few(l, p.pairs >= 0 ? p.at : NULL, begin, end - begin - 1);
            }
            continue;
        }
        end = T - begin <= 2 * p.pairs ? T : begin + 2 * p.pairs;
        uint32_t *const wp = p.at, *xp = wp + words;
        for (int32_t t = begin; t < end; t += 2) {
            const int8_t *row = l->x + t * C;
            xp = expand(xp, row, t + 1 < end ? row + C : row, C, k);
        }
        many_rows(l, wp, wp + words, begin, end, k);
    }
}

void tt_linear_s8(int8_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                  const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                  const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                  int32_t O, int32_t per_channel) {
    const layer l = {x, w, wt, rows, b, bt, mult, shift, C, O, per_channel, y, NULL, 127};
    linear(&l, scratch, room, T);
}

void tt_linear_s16(int16_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                   const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                   const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                   int32_t O, int32_t per_channel) {
    const layer l = {x, w, wt, rows, b, bt, mult, shift, C, O, per_channel, NULL, y, 32767};
    linear(&l, scratch, room, T);
}
