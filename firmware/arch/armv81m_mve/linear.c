#include "tinytrain/tt_linear.h"

#include "dot.h"
#include "products.h"
#include "vectors.h"

#define OUTS 8 /* output channels at a time */

/* Output channels o .. o + n - 1: their rows; biases and factors, first of the even ones, then the
 * odd. */
typedef struct {
    const int8_t *w[OUTS];
    int32_t bias[OUTS], mult[OUTS], up[OUTS]; /* up: 32 - shift */
    int32_t o, n;
    int32_t whole; /* n == OUTS, and all shifts > 32 */
} columns;

typedef struct {
    const int8_t *w, *wt;
    const int16_t *rows;
    const int32_t *b, *bt, *mult, *shift;
    int32_t C, O, per_channel;
    int8_t *y8; /* or NULL */
    int16_t *y16;
    int32_t limit;
} layer;

/* Where channel o + i is in the arrays of columns. */
static inline int32_t place(int32_t i) {
    return (i & 1) * (OUTS / 2) + i / 2;
}

static void fill(columns *k, const layer *l) {
    k->n = l->O - k->o < OUTS ? l->O - k->o : OUTS;
    if (l->per_channel || k->o == 0) {
        int32_t most = -1;
        for (int32_t i = 0; i < OUTS; i++) {
            const int32_t q = l->per_channel && i < k->n ? k->o + i : 0, up = 32 - l->shift[q];
            k->mult[place(i)] = l->mult[q];
            k->up[place(i)] = up;
            most = up > most ? up : most;
        }
        k->whole = most < 0;
    }
    k->whole = k->whole && k->n == OUTS;
    for (int32_t i = 0; i < OUTS; i++) { /* the last one is repeated */
        const int32_t o = k->o + (i < k->n ? i : k->n - 1);
        k->w[i] = weight_row(l->w, l->wt, l->rows, o, l->C);
        k->bias[place(i)] = bias_of(l->b, l->bt, l->rows, o);
    }
}

/* A row, element by element. */
static void put(const layer *l, int32_t at, const int32_t *tiles, const columns *k) {
    for (int32_t i = 0; i < k->n; i++) {
        const int32_t p = place(i), acc = with_bias(tiles[sum_at(i, TILES)], k->bias[p]);
        const int32_t v = tt_requantize(acc, k->mult[p], 32 - k->up[p], l->limit);
        if (l->y8 != NULL) {
            l->y8[at + i] = (int8_t)v;
        } else {
            l->y16[at + i] = (int16_t)v;
        }
    }
}

/* As tt_requantize, without the saturation. The lower half of the product counts for nothing: what is
 * added for rounding has no bits there. */
static inline int32x4_t scaled(int32x4_t acc, const columns *k, int32_t half) {
    const int32x4_t high =
        vmulhq_s32(vaddq_s32(acc, vldrwq_s32(k->bias + half)), vldrwq_s32(k->mult + half));
    return vrshlq_s32(high, vldrwq_s32(k->up + half));
}

/* A row of OUTS channels, within int16. */
static inline int16x8_t row_of(const int32_t *tiles, const columns *k) {
    const int32x4_t even = scaled(sums(tiles, TILES), k, 0);
    const int32x4_t odd = scaled(sums(tiles + 1, TILES), k, OUTS / 2);
    return vqmovntq_s32(vqmovnbq_s32(vdupq_n_s16(0), even), odd);
}

static void linear(const layer *l, const int8_t *x, int32_t T) {
    const int32_t C = l->C, O = l->O;
    columns k = {.n = 0};
    for (k.o = 0; k.o < O; k.o += OUTS) {
        fill(&k, l);
        const int32_t pairs = (k.n + 1) / 2;
        const int8_t *x0 = x;
        for (int32_t t = 0, at = k.o; t < T; t += 2, at += 2 * O, x0 += 2 * C) {
            const int32_t below = t + 1 < T ? 1 : 0, next = at + below * O;
            int32_t tiles[2 * OUTS];
            dot_listed(tiles, k.w, x0, x0 + below * C, C, pairs);
            if (!k.whole) {
                put(l, at, tiles, &k);
                put(l, next, tiles + 2, &k);
            } else if (l->y8 != NULL) {
                vstrbq_s16(l->y8 + at, clamped(row_of(tiles, &k), 127));
                vstrbq_s16(l->y8 + next, clamped(row_of(tiles + 2, &k), 127));
            } else {
                vstrhq_s16(l->y16 + at, clamped(row_of(tiles, &k), 32767));
                vstrhq_s16(l->y16 + next, clamped(row_of(tiles + 2, &k), 32767));
            }
        }
    }
}

void tt_linear_s8(int8_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                  const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                  const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                  int32_t O, int32_t per_channel) {
    (void)scratch;
    (void)room;
    const layer l = {w, wt, rows, b, bt, mult, shift, C, O, per_channel, y, NULL, 127};
    linear(&l, x, T);
}

void tt_linear_s16(int16_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                   const int16_t *rows, const int32_t *b, const int32_t *bt, const int32_t *mult,
                   const int32_t *shift, int32_t *scratch, int32_t room, int32_t T, int32_t C,
                   int32_t O, int32_t per_channel) {
    (void)scratch;
    (void)room;
    const layer l = {w, wt, rows, b, bt, mult, shift, C, O, per_channel, NULL, y, 32767};
    linear(&l, x, T);
}
