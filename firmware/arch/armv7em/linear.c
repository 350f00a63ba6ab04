#include "tinytrain/tt_linear.h"

#include "columns.h"
#include "few_rows.h"
#include "quantize.h"

#define FEW_ROWS 3 /* so many rows leave the weights as bytes */
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
    int32_t r;
    __asm__("smmla %0, %1, %2, %3" : "=r"(r) : "r"(acc), "r"(mult), "r"(half));
    r >>= shift;
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

/* Two rows of x, the panel xp, by all rows of the weight. */
static void two_rows(const layer *l, const uint32_t *xp, int32_t t) {
    const int32_t C = l->C, O = l->O, turns = C / 16, done = 16 * turns;
    int32_t sums[2][SUMS];
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? 1 : 0, at = o % SUMS;
        const int8_t *w0 = row_of(l, o), *w1 = row_of(l, o + next);
        int32_t acc[4];
        dot_2x2_bytes(xp, w0, w1, turns, acc);
        for (int32_t i = done; i < C; i++) {
            const int16_t *pair = (const int16_t *)(xp + i / 4 * 4) + 4 * (i & 1) + (i & 2) / 2;
            acc[0] += pair[0] * w0[i];
            acc[1] += pair[0] * w1[i];
            acc[2] += pair[2] * w0[i];
            acc[3] += pair[2] * w1[i];
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

/* Panel of one row: pairs (0,2), (1,3) of every four columns. */
static void expand_row(uint32_t *p, const int8_t *x, int32_t groups) {
    for (; groups > 0; groups--, x += 4, p += 2) {
        const uint32_t word = load4(x);
        p[0] = even_bytes(word);
        p[1] = odd_bytes(word);
    }
}

/* x . w of columns from i on. */
static int32_t dot_rest(const int8_t *x, const int8_t *w, int32_t i, int32_t C) {
    int32_t sum = 0;
    for (; i + 4 <= C; i += 4) {
        const uint32_t u = load4(x + i), v = load4(w + i);
        sum = smlad(even_bytes(u), even_bytes(v), sum);
        sum = smlad(odd_bytes(u), odd_bytes(v), sum);
    }
    for (; i < C; i++) {
        sum += x[i] * w[i];
    }
    return sum;
}

/* One row of x by all rows of the weight. */
static void one_row(const layer *l, uint32_t *xp, int32_t t) {
    const int32_t C = l->C, O = l->O, turns = C / 16;
    const int8_t *const x = l->x + t * C;
    const int whole = turns > 0 && (((uintptr_t)l->w | (uintptr_t)l->wt | (uintptr_t)C) & 3u) == 0;
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

/* Sums of a panel of rows by two columns, a tile at a time; they are worth 2^k. */
static void plain_tiles(const layer *l, const tile_run *from, int32_t words, int32_t t, int32_t end,
                        int32_t o, int32_t k) {
    tile_run run = *from;
    run.bias[0] = run.bias[1] = 0;
    for (; t < end; t += 2, run.x += words) {
        int32_t acc[4];
        run.out = acc;
        run.x_end = run.x + words;
        tile_s32(words)(&run);
        for (int32_t r = 0; r < 2 && t + r < end; r++) {
            put(l, t + r, o, acc[r] >> k);
            if (o + 1 < l->O) {
                put(l, t + r, o + 1, acc[2 + r] >> k);
            }
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
    const tile_function run_tiles = tile_s8(words);
    tile_run run = {.w = wp,
                    .w_end = wp + words,
                    .x = xp,
                    .x_end = xp + paired / 2 * words,
                    .mult0 = l->mult[0],
                    .mult1 = l->mult[0],
                    .stride = l->O,
                    .ones = 0x01010101u};
    int32_t own = 48 - l->shift[0], limit = bias_limit(l->shift[0], C, k);
    for (int32_t o = 0; o < l->O; o += 2) {
        const int32_t next = o + 1 < l->O ? 1 : 0;
        const int8_t *const w0 = row_of(l, o);
        const int8_t *const w1 = row_of(l, o + next);
        const int32_t b0 = bias_of(l->b, l->bt, l->rows, o);
        const int32_t b1 = bias_of(l->b, l->bt, l->rows, o + next);
        if (l->per_channel) {
            run.mult0 = l->mult[o];
            run.mult1 = l->mult[o + next];
            own = 48 - l->shift[o];
            limit = own == 48 - l->shift[o + next] ? bias_limit(l->shift[o], C, k) : -1;
        }
        if (l->y8 != NULL && next && tt_abs(b0) <= limit && tt_abs(b1) <= limit) {
            run.bias[0] = (int32_t)((uint32_t)b0 << own);
            run.bias[1] = (int32_t)((uint32_t)b1 << own);
            run.out = l->y8 + begin * l->O + o;
            expand(wp, w0, w1, C, own - k);
            if (paired > 0) {
                run_tiles(&run);
            }
            if (begin + paired < end) {
                tile_run last = run;
                last.x = run.x_end;
                plain_tiles(l, &last, words, end - 1, end, o, own);
            }
        } else {
            expand(wp, w0, w1, C, 0);
            plain_tiles(l, &run, words, begin, end, o, k);
        }
    }
}

static void linear(const layer *l, int32_t *scratch, int32_t T) {
    const int32_t C = l->C, words = panel_words(C);
    uint32_t *const wp = (uint32_t *)scratch;
    if (T <= FEW_ROWS) {
        if (T > 1) {
            expand(wp, l->x, l->x + C, C, 0);
            two_rows(l, wp, 0);
        }
        if (T & 1) {
            one_row(l, wp, T - 1);
        }
        return;
    }
    const int32_t k = scale_of_x(l), rows = rows_at_a_time(T, words, words);
    for (int32_t begin = 0; begin < T; begin += rows) {
        const int32_t end = T - begin < rows ? T : begin + rows;
        uint32_t *xp = wp + words;
        for (int32_t t = begin; t < end; t += 2) {
            const int8_t *row = l->x + t * C;
            xp = expand(xp, row, t + 1 < end ? row + C : row, C, k);
        }
        many_rows(l, wp, wp + words, begin, end, k);
    }
}

void tt_linear_s8(int8_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                  const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                  const int32_t *shift, int32_t *scratch, int32_t T, int32_t C, int32_t O,
                  int32_t per_channel) {
    const layer l = {x, w, wt, rows, b, bt, mult, shift, C, O, per_channel, y, NULL, 127};
    linear(&l, scratch, T);
}

void tt_linear_s16(int16_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                   const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                   const int32_t *shift, int32_t *scratch, int32_t T, int32_t C, int32_t O,
                   int32_t per_channel) {
    const layer l = {x, w, wt, rows, b, bt, mult, shift, C, O, per_channel, NULL, y, 32767};
    linear(&l, scratch, T);
}

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

void tt_linear_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                     const int8_t *w, const int8_t *wt, const int16_t *rows, int32_t *scratch,
                     const tt_step *st, int32_t T, int32_t C, int32_t O, int32_t exp_add,
                     int32_t stream) {
    const gradient d = {
        g, g_exp, gx, gx_exp, C, O, T, exp_add, tt_key(st, stream), (uint32_t)(st->row * C)};
    const weight whole = {w, wt, rows, C, O};
    const int32_t words = panel_words(O), columns = panel_words(C);
    uint32_t *const p = (uint32_t *)scratch;
    if (T == 1 && (rows == NULL || wt == NULL) && ((C | O) & 3) == 0) {
        one_gradient((int32_t *)(p + words), p, g, w, C, O);
        put_gradients(&d, (int32_t *)(p + words), 0);
    } else {
        /* All of the weight and two rows, or all rows and 16 columns: what is smaller. */
        const int32_t room = TT_PANEL_BYTES / 4 - words, even = (T + 1) & ~1;
        const int32_t few = columns < 16 ? columns : 16;
        const int32_t by_weight = columns / 2 * words + 2 * columns;
        const int32_t by_rows = few / 2 * words + even * columns;
        int32_t held = 2, block = columns;
        if (by_rows < by_weight) {
            held = even;
            block = few;
        }
        if (by_weight > room && by_rows > room) {
            held = rows_at_a_time(T, words + room / 4, 2 * columns);
            block = (room - held * columns) / (2 * words) * 4;
            block = block < 4 ? 4 : (block < columns ? block : columns);
        }
        by_blocks(&d, &whole, p, held, block);
    }
}
