/* The loops are assembly; of the others none becomes a call of memset. */
#pragma GCC optimize("Os", "no-tree-loop-distribute-patterns")

#include "layer.h"

#include "few_rows.h"
#include "tile.h"

#define PRODUCT (127 * 127)
#define FEW_COLUMNS 32 /* of a panel on the stack */

static inline void put(const layer *l, int32_t t, int32_t o, int32_t sum) {
    const int32_t q = has_channel_scales(l) ? o : 0;
    const int32_t v = tt_requantize(with_bias(sum, bias_of(l->b, l->bt, l->rows, o)), l->mult[q],
                                    l->shift[q], l->limit);
    if (l->y8 != NULL) {
        l->y8[t * l->O + o] = (int8_t)v;
    } else {
        l->y16[t * l->O + o] = (int16_t)v;
    }
}

/* tt_requantize to +-127; shift is less by 32, half = 2^(shift-1) - 2^shift: 1 is added at the end,
 * where it saturates. */
static inline int8_t code_of_sum(int32_t acc, int32_t mult, int32_t shift, int32_t half) {
    int32_t r = dsp_multiply_high(acc, mult, half) >> shift;
    __asm__("ssat %0, #8, %0\n"
            "qadd8 %0, %0, %1"
            : "+r"(r)
            : "r"(1));
    return (int8_t)r;
}

/* To +-32767; half = 2^(shift-1). */
static inline int16_t wide_of_sum(int32_t acc, int32_t mult, int32_t shift, int32_t half) {
    return (int16_t)tt_clamp(dsp_multiply_high(acc, mult, half) >> shift, 32767);
}

void tt_layer_put(const layer *l, const int32_t *sums, int32_t t, int32_t o, int32_t n) {
    const int32_t mult = l->mult[0], shift = l->shift[0] - 32;
    if (has_channel_scales(l) || !is_whole(l->bt, l->rows) || shift <= 0) {
        for (int32_t i = 0; i < n; i++) {
            put(l, t, o + i, sums[i]);
        }
        return;
    }
    const int32_t *b = l->b + o;
    const int32_t *const end = sums + n;
    if (l->y8 != NULL) {
        const int32_t half = (1 << shift >> 1) - (1 << shift);
        for (int8_t *y = l->y8 + t * l->O + o; sums != end;) {
            *y++ = code_of_sum(*sums++ + *b++, mult, shift, half);
        }
    } else {
        const int32_t half = 1 << shift >> 1;
        for (int16_t *y = l->y16 + t * l->O + o; sums != end;) {
            *y++ = wide_of_sum(*sums++ + *b++, mult, shift, half);
        }
    }
}

/* y[t .. t + n - 1, o] from their sums, which are worth 2^k. */
static void put_column(const layer *l, const int32_t *sums, int32_t t, int32_t n, int32_t o,
                       int32_t k) {
    const int32_t O = l->O, q = has_channel_scales(l) ? o : 0, mult = l->mult[q];
    const int32_t bias = bias_of(l->b, l->bt, l->rows, o), shift = l->shift[q] - 32;
    if (shift <= 0) {
        for (int32_t r = 0; r < n; r++) {
            put(l, t + r, o, sums[r] >> k);
        }
    } else if (l->y8 != NULL) {
        const int32_t half = (1 << shift >> 1) - (1 << shift);
        int8_t *y = l->y8 + t * O + o;
        for (int32_t r = 0; r < n; r++, y += O) {
            *y = code_of_sum(with_bias(sums[r] >> k, bias), mult, shift, half);
        }
    } else {
        const int32_t half = 1 << shift >> 1;
        int16_t *y = l->y16 + t * O + o;
        for (int32_t r = 0; r < n; r++, y += O) {
            *y = wide_of_sum(with_bias(sums[r] >> k, bias), mult, shift, half);
        }
    }
}

void tt_layer_few(const layer *l, uint32_t *xp, int32_t span, const int8_t *x, const int8_t *below,
                  int32_t t) {
    const int32_t C = l->C, O = l->O, whole = C & ~3;
    const int together = is_whole(l->wt, l->rows);
    int32_t sums[2 * SUMS];
    uint32_t some[FEW_COLUMNS];
    few_rows run = {.x = xp};
    if (span < FEW_COLUMNS) {
        run.x = some;
        span = FEW_COLUMNS;
    }
    for (int32_t o = 0, count; o < O; o += count) {
        count = O - o < SUMS ? O - o : SUMS;
        for (int32_t i = 0; i < 2 * SUMS; i++) {
            sums[i] = 0;
        }
        for (int32_t c = 0, columns; c < whole; c += columns) {
            columns = whole - c < span ? whole - c : span;
            if (o == 0 || span < C) {
                tt_expand((uint32_t *)run.x, x + c, below + c, columns, 0);
            }
            run.turns = (columns + 15) / 16;
            run.left_out = -(columns / 4) & 3;
            run.skip = 2 * C - columns;
            run.pairs = together ? count / 2 : 1;
            for (int32_t i = 0; i < count; i += 2 * run.pairs) {
                const int32_t next = i + 1 < count ? 1 : 0; /* the last may be made twice */
                run.pairs = next ? run.pairs : 1;
                run.sums = sums + i;
                dots_of_two(&run, row_of(l, o + i) + c, row_of(l, o + i + next) + c);
            }
        }
        for (int32_t i = 0; whole < C && i < count; i++) {
            const int8_t *const w = row_of(l, o + i);
            for (int32_t c = whole; c < C; c++) {
                sums[i] += x[c] * w[c];
                sums[SUMS + i] += below[c] * w[c];
            }
        }
        for (int32_t r = 0; r <= (below != x); r++) {
            tt_layer_put(l, sums + SUMS * r, t + r, o, count);
        }
    }
}

/* Rows t .. end - 1, whose panels begin at run->x, by two rows of the weight, or by one that is
 * repeated; the sums are worth 2^k. */
__attribute__((noinline)) static void plain_tiles(const layer *l, tile_run *run, int32_t t,
                                                  int32_t end, int32_t o, int32_t k) {
    const int32_t words = (int32_t)(run->w_end - run->w);
    const int32_t stride = run->stride;
    const uint32_t *const x = run->x;
    int32_t sums[2 * SUMS];
    run->bias[0] = run->bias[1] = 0;
    for (int32_t n; t < end; t += n, run->x = run->x_end) {
        n = end - t < SUMS ? end - t : SUMS;
        run->x_end = run->x + (n + 1) / 2 * words;
        run->out0 = sums;
        run->out1 = sums + SUMS;
        tt_tiles_s32(words)(run);
        put_column(l, sums, t, n, o, k);
        if (o + 1 < l->O) {
            put_column(l, sums + SUMS, t, n, o + 1, k);
        }
    }
    run->stride = stride;
    run->x = x;
}

/* Sums are scaled by 2^(48 - shift), so that requantization is a shift by 48; x takes 2^k of it,
 * k <= 8, the rows of w the rest. */
int32_t tt_layer_scale(const layer *l) {
    int32_t k = 8;
    for (int32_t o = 0; o < (has_channel_scales(l) ? l->O : 1); o++) {
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
__attribute__((flatten)) void tt_layer_rows(const layer *l, uint32_t *wp, uint32_t *xp,
                                            int32_t begin, int32_t end, int32_t k) {
    const int32_t words = panel_words(l->C), C = l->C, O = l->O;
    const int32_t paired = (end - begin) & ~1;
    uint32_t *const x_end = xp + paired / 2 * words;
    const uintptr_t rows = (uintptr_t)l->w | (uintptr_t)l->wt;
    tile_run run; /* its other members are set below */
    run.mult[0] = run.mult[1] = l->mult[0];
    run.stride = O;
    run.ones = 0x01010101u;
    run.half = 0x7F8000;
    run.x = xp;
    set_words(&run, wp, words);
    int32_t own = 48 - l->shift[0], limit = bias_limit(l->shift[0], C, k);
    expander expand = tt_expander(rows, C, own - k);
    const tile_runner run_tiles = tt_tiles_s8(words);
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? o + 1 : o;
        const int8_t *const w0 = row_of(l, o), *const w1 = row_of(l, next);
        const int32_t b0 = bias_of(l->b, l->bt, l->rows, o);
        const int32_t b1 = bias_of(l->b, l->bt, l->rows, next);
        if (has_channel_scales(l)) {
            run.mult[0] = l->mult[o];
            run.mult[1] = l->mult[next];
            own = 48 - l->shift[o];
            limit = own == 48 - l->shift[next] ? bias_limit(l->shift[o], C, k) : -1;
            expand = tt_expander(rows, C, own - k);
        }
        if (l->y8 != NULL && o != next && tt_abs(b0) <= limit && tt_abs(b1) <= limit) {
            run.bias[0] = (int32_t)((uint32_t)b0 << own);
            run.bias[1] = (int32_t)((uint32_t)b1 << own);
            run.out = l->y8 + begin * O + o;
            run.x_end = x_end;
            expand(wp, w0, w1, C, own - k);
            run_tiles(&run);
            if (begin + paired < end) {
                run.x = x_end;
                plain_tiles(l, &run, end - 1, end, o, own);
                run.x = xp;
            }
        } else {
            tt_expand(wp, w0, w1, C, 0);
            plain_tiles(l, &run, begin, end, o, k);
        }
    }
}
