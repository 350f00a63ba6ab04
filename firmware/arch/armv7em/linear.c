#include "tinytrain/tt_linear.h"

#include "columns.h"
#include "few_rows.h"
#include "tile.h"

#define FEW_ROWS 3 /* so many rows leave the weight as bytes */
#define PRODUCT (127 * 127)

/* As tt_requantize, without 64-bit shifts where shift > 32. */
static inline int32_t requantize(int32_t acc, int32_t mult, int32_t shift, int32_t limit) {
    if (shift <= 32) {
        return tt_requantize(acc, mult, shift, limit);
    }
    const int32_t high = (int32_t)(((int64_t)acc * mult) >> 32);
    return tt_clamp((high + (1 << (shift - 33))) >> (shift - 32), limit);
}

/* The same to +-127; shift is less by 32, half = 2^(shift-1) - 2^shift: 1 is added at the end, where
 * it saturates. */
static inline int32_t requantize_code(int32_t acc, int32_t mult, int32_t shift, int32_t half) {
    int32_t r = dsp_multiply_high(acc, mult, half) >> shift;
    __asm__("ssat %0, #8, %0\n"
            "qadd8 %0, %0, %1"
            : "+r"(r)
            : "r"(1));
    return r;
}

typedef struct {
    const int8_t *x, *w, *wt;
    const int16_t *rows;
    const int32_t *b, *bt, *mult, *shift;
    int32_t C, O, per_channel;
    int8_t *y8; /* or NULL */
    int16_t *y16;
    int32_t limit;
} layer;

static inline void put(const layer *l, int32_t t, int32_t o, int32_t sum) {
    const int32_t q = l->per_channel ? o : 0;
    const int32_t v =
        requantize(sum + bias_of(l->b, l->bt, l->rows, o), l->mult[q], l->shift[q], l->limit);
    if (l->y8 != NULL) {
        l->y8[t * l->O + o] = (int8_t)v;
    } else {
        l->y16[t * l->O + o] = (int16_t)v;
    }
}

/* y[t .. t + n - 1, o] from their sums, which are worth 2^k. */
__attribute__((noinline)) static void put_column(const layer *l, const int32_t *sums, int32_t t,
                                                 int32_t n, int32_t o, int32_t k) {
    const int32_t O = l->O, q = l->per_channel ? o : 0, mult = l->mult[q];
    const int32_t bias = bias_of(l->b, l->bt, l->rows, o), shift = l->shift[q] - 32;
    if (shift <= 0) {
        for (int32_t r = 0; r < n; r++) {
            put(l, t + r, o, sums[r] >> k);
        }
    } else if (l->y8 != NULL) {
        const int32_t half = (1 << shift >> 1) - (1 << shift);
        int8_t *y = l->y8 + t * O + o;
        for (int32_t r = 0; r < n; r++, y += O) {
            *y = (int8_t)requantize_code((sums[r] >> k) + bias, mult, shift, half);
        }
    } else {
        const int32_t half = 1 << (shift - 1);
        int16_t *y = l->y16 + t * O + o;
        for (int32_t r = 0; r < n; r++, y += O) {
            *y = (int16_t)tt_clamp(dsp_multiply_high((sums[r] >> k) + bias, mult, half) >> shift,
                                   32767);
        }
    }
}

static inline const int8_t *row_of(const layer *l, int32_t o) {
    return weight_row(l->w, l->wt, l->rows, o, l->C);
}

#define SUMS 16 /* outputs of a row that wait for their requantization */

/* y[t, o .. o + n - 1] from their sums. */
__attribute__((noinline)) static void put_row(const layer *l, const int32_t *sums, int32_t t,
                                              int32_t o, int32_t n) {
    if (l->y8 == NULL || l->per_channel || (l->rows != NULL && l->bt != NULL) ||
        l->shift[0] <= 32) {
        for (int32_t i = 0; i < n; i++) {
            put(l, t, o + i, sums[i]);
        }
        return;
    }
    const int32_t mult = l->mult[0], shift = l->shift[0] - 32,
                  half = (1 << shift >> 1) - (1 << shift);
    const int32_t *b = l->b + o;
    int8_t *y = l->y8 + t * l->O + o;
    for (const int8_t *end = y + n; y != end;) {
        *y++ = (int8_t)requantize_code(*sums++ + *b++, mult, shift, half);
    }
}

/* Rows t and t + 1 of x, whose panel is xp unless that is NULL, by all rows of the weight. */
static void two_rows(const layer *l, const uint32_t *xp, int32_t t) {
    const int32_t C = l->C, O = l->O, groups = C / 4;
    const int8_t *const x0 = l->x + t * C, *const x1 = x0 + C;
    int32_t sums[2][SUMS];
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? 1 : 0, at = o % SUMS;
        const int8_t *w0 = row_of(l, o), *w1 = row_of(l, o + next);
        int32_t acc[4] = {0, 0, 0, 0};
        if (groups > 0 && xp != NULL) {
            dot_2x2_bytes(xp, w0, w1, groups, acc);
        } else if (groups > 0) {
            dot_2x2_rows(x0, x1, w0, w1, groups, acc);
        }
        for (int32_t i = 4 * groups; i < C; i++) {
            acc[0] += x0[i] * w0[i];
            acc[1] += x0[i] * w1[i];
            acc[2] += x1[i] * w0[i];
            acc[3] += x1[i] * w1[i];
        }
        sums[0][at] = acc[0];
        sums[0][at + 1] = acc[1];
        sums[1][at] = acc[2];
        sums[1][at + 1] = acc[3];
        if (at + 2 == SUMS || o + 2 >= O) {
            put_row(l, sums[0], t, o - at, at + 1 + next);
            put_row(l, sums[1], t + 1, o - at, at + 1 + next);
        }
    }
}

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

/* One row of x by all rows of the weight; xp: for its panel, or NULL. */
static void one_row(const layer *l, uint32_t *xp, int32_t t) {
    const int32_t C = l->C, O = l->O, turns = C / 16;
    const int8_t *const x = l->x + t * C;
    const int whole =
        xp != NULL && turns > 0 && (((uintptr_t)l->w | (uintptr_t)l->wt | (uintptr_t)C) & 3u) == 0;
    const int together = l->rows == NULL || l->wt == NULL;
    const int32_t done = whole ? 16 * turns : 0;
    expand_row(xp, x, done / 4);
    for (int32_t o = 0; o < O; o += SUMS) {
        int32_t sums[SUMS] = {0};
        const int32_t n = O - o < SUMS ? O - o : SUMS;
        if (whole && together) {
            const int8_t *w = l->w + o * C;
            if (n > 1) {
                dots_of_row(sums, xp, w, w + C, turns, n / 2, 2 * C - done);
            }
            if (n & 1) {
                int32_t last[2];
                w += (n - 1) * C;
                dots_of_row(last, xp, w, w, turns, 1, 0);
                sums[n - 1] = last[0];
            }
        } else if (whole) {
            for (int32_t i = 0; i < n; i += 2) {
                const int32_t next = i + 1 < n ? 1 : 0;
                dots_of_row(sums + i, xp, row_of(l, o + i), row_of(l, o + i + next), turns, 1, 0);
            }
        }
        for (int32_t i = 0; done < C && i < n; i++) {
            sums[i] += dot_rest(x, row_of(l, o + i), done, C);
        }
        put_row(l, sums, t, o, n);
    }
}

/* Rows t .. end - 1, whose panels begin at run->x, by two rows of the weight, or by one that is
 * repeated; the sums are worth 2^k. */
static void plain_tiles(const layer *l, const tile_run *from, int32_t t, int32_t end, int32_t o,
                        int32_t k) {
    const int32_t words = (int32_t)(from->w_end - from->w);
    tile_run run = *from;
    int32_t sums[2][SUMS];
    for (int32_t n; t < end; t += n, run.x = run.x_end) {
        n = end - t < SUMS ? end - t : SUMS;
        run.x_end = run.x + (n + 1) / 2 * words;
        run.out0 = sums[0];
        run.out1 = sums[1];
        run_s32(&run);
        for (int32_t c = 0; c < 2 && o + c < l->O; c++) {
            put_column(l, sums[c], t, n, o + c, k);
        }
    }
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
static void many_rows(const layer *l, uint32_t *wp, uint32_t *xp, int32_t begin, int32_t end,
                      int32_t k) {
    const int32_t words = panel_words(l->C), C = l->C;
    const int32_t paired = (end - begin) & ~1;
    tile_run run = {.x = xp,
                    .x_end = xp + paired / 2 * words,
                    .mult = {l->mult[0], l->mult[0]},
                    .stride = l->O,
                    .ones = 0x01010101u,
                    .half = 0x7F8000};
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
        if (l->y8 != NULL && next && tt_abs(b0) <= limit && tt_abs(b1) <= limit) {
            run.bias[0] = (int32_t)((uint32_t)b0 << own);
            run.bias[1] = (int32_t)((uint32_t)b1 << own);
            run.out = l->y8 + begin * l->O + o;
            expand(wp, w0, w1, C, own - k);
            if (paired > 0) {
                run_s8(&run);
            }
            if (begin + paired < end) {
                tile_run last = run;
                last.x = run.x_end;
                plain_tiles(l, &last, end - 1, end, o, own);
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
            uint32_t *const xp = p.pairs >= 0 ? p.at : NULL;
            end = begin + 1 < T ? begin + 2 : T;
            if (end == begin + 1) {
                one_row(l, xp, begin);
            } else {
                if (xp != NULL) {
                    expand(xp, l->x + begin * C, l->x + (begin + 1) * C, C, 0);
                }
                two_rows(l, xp, begin);
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
