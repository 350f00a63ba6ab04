#include "tinytrain/tt_linear.h"

#include "../../kernels/products.h"
#include "tile.h"

#define TILE_ROWS 64 /* rows of x whose int16 panels are held at a time */
#define PRODUCT (127 * 127)

/* The scaling of sums that makes requantization a shift by 48: 2^k, k = 48 - shift, x takes 2^x of it
 * and each row of w the rest. */
static int32_t scale_of_x(const int32_t *shift, int32_t channels, int32_t C) {
    int32_t k = 8;
    for (int32_t o = 0; o < channels; o++) {
        const int32_t own = 48 - shift[o];
        k = own >= 0 && own < k ? own : k;
    }
    while (k > 0 && C > (INT32_MAX >> k) / PRODUCT) {
        k--;
    }
    return k;
}

/* Whether sums of C products and a bias stay in int32 when scaled, and w stays in int16. */
static inline int fits(int32_t bias, int32_t shift, int32_t C, int32_t k) {
    const int32_t own = 48 - shift;
    return own >= k && own - k <= 8 && C * PRODUCT + tt_abs(bias) <= INT32_MAX >> own;
}

/* As tt_requantize, without 64-bit arithmetic where shift > 32. */
static inline int32_t requantize(int32_t acc, int32_t mult, int32_t shift, int32_t limit) {
    if (shift <= 32) {
        return tt_requantize(acc, mult, shift, limit);
    }
    const int32_t high = (int32_t)(((int64_t)acc * mult) >> 32);
    return tt_clamp((high + (1 << (shift - 33))) >> (shift - 32), limit);
}

typedef struct {
    int8_t *y8; /* or NULL */
    int16_t *y16;
    int32_t limit;
    int32_t O;
} result;

static inline void put(const result *y, int32_t t, int32_t o, int32_t v) {
    if (y->y8 != NULL) {
        y->y8[t * y->O + o] = (int8_t)v;
    } else {
        y->y16[t * y->O + o] = (int16_t)v;
    }
}

/* Two columns of `pairs` pairs of rows from sums, one tile at a time; acc are worth 2^k. */
static void finish_tiles(const result *y, tile_run *run, int32_t words, int32_t t, int32_t T,
                         int32_t o, const int32_t *bias, const int32_t *mult, const int32_t *shift,
                         int32_t k) {
    const int32_t columns = o + 1 < y->O ? 2 : 1;
    const uint32_t *end = run->x_end;
    for (; run->x != end; run->x += words * 1, t += 2) {
        int32_t acc[4];
        run->out = acc;
        run->x_end = run->x + words;
        tile_s32(run, words);
        for (int32_t r = 0; r < 2 && t + r < T; r++) {
            for (int32_t c = 0; c < columns; c++) {
                const int32_t sum = (acc[2 * r + c] >> k) + bias[c];
                put(y, t + r, o + c, requantize(sum, mult[c], shift[c], y->limit));
            }
        }
    }
}

static void linear(const result *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                   const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                   const int32_t *shift, int32_t *scratch, int32_t T, int32_t C, int32_t O,
                   int32_t per_channel) {
    const int32_t k = scale_of_x(shift, per_channel ? O : 1, C);
    const int32_t words = panel_words(C); /* of two rows: 2 * C / 2 */
    uint32_t *const wp = (uint32_t *)scratch;
    uint32_t *const xp = wp + words;
    for (int32_t begin = 0; begin < T; begin += TILE_ROWS) {
        const int32_t end = T - begin < TILE_ROWS ? T : begin + TILE_ROWS;
        uint32_t *x_end = xp;
        for (int32_t t = begin; t < end; t += 2) {
            const int8_t *row = x + t * C;
            x_end = expand(x_end, row, t + 1 < end ? row + C : row, C, k);
        }
        const int32_t paired = (end - begin) & ~1;
        uint32_t *const whole = xp + (paired / 2) * words;
        for (int32_t o = 0; o < O; o += 2) {
            const int32_t next = o + 1 < O ? 1 : 0;
            const int32_t q0 = per_channel ? o : 0, q1 = per_channel ? o + next : 0;
            const int32_t bias[2] = {bias_of(b, bt, rows, o), bias_of(b, bt, rows, o + next)};
            const int32_t m[2] = {mult[q0], mult[q1]}, s[2] = {shift[q0], shift[q1]};
            const int fast = y->y8 != NULL && next && s[0] == s[1] && fits(bias[0], s[0], C, k) &&
                             fits(bias[1], s[1], C, k) && paired > 0;
            const int32_t wk = fast ? 48 - s[0] - k : 0;
            tile_run run = {.w = wp,
                            .w_end = wp + words,
                            .x = xp,
                            .x_end = whole,
                            .mult0 = m[0],
                            .mult1 = m[1],
                            .stride = O,
                            .ones = 0x01010101u};
            expand(wp, weight_row(w, wt, rows, o, C), weight_row(w, wt, rows, o + next, C), C, wk);
            int32_t t = begin;
            if (fast) {
                run.bias[0] = bias[0] * (1 << (48 - s[0]));
                run.bias[1] = bias[1] * (1 << (48 - s[1]));
                run.out = y->y8 + t * O + o;
                tile_s8(&run, words);
                run.bias[0] = run.bias[1] = 0;
                run.x = whole;
                t += paired;
            }
            run.x_end = x_end;
            finish_tiles(y, &run, words, t, end, o, bias, m, s, k + wk);
        }
    }
}

void tt_linear_s8(int8_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                  const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                  const int32_t *shift, int32_t *scratch, int32_t T, int32_t C, int32_t O,
                  int32_t per_channel) {
    const result to = {y, NULL, 127, O};
    linear(&to, x, w, wt, rows, b, bt, mult, shift, scratch, T, C, O, per_channel);
}

void tt_linear_s16(int16_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                   const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                   const int32_t *shift, int32_t *scratch, int32_t T, int32_t C, int32_t O,
                   int32_t per_channel) {
    const result to = {NULL, y, 32767, O};
    linear(&to, x, w, wt, rows, b, bt, mult, shift, scratch, T, C, O, per_channel);
}
