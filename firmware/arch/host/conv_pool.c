#include "columns.h"
#include "conv_rows.h"

/* n numbers from `from` on of the patch of place (r, c). */
static void part_of_patch(int8_t *out, const int8_t *x, const window *v, int32_t C, int32_t r,
                          int32_t c, int32_t from, int32_t n) {
    const span down = span_of(r, v->stride.h, v->padding.h, v->size.h, v->image.h);
    const span along = span_of(c, v->stride.w, v->padding.w, v->size.w, v->image.w);
    const int32_t row = v->size.w * C;
    memset(out, 0, (size_t)n);
    for (int32_t i = down.first; i < down.end; i++) {
        const int32_t first = i * row + along.first * C, begin = first > from ? first : from;
        const int32_t end = tt_least(i * row + along.end * C, from + n);
        if (begin < end) {
            const int8_t *in = x + ((down.at + i) * v->image.w + along.at) * C;
            memcpy(out + begin - from, in + begin - i * row, (size_t)(end - begin));
        }
    }
}

/* The same of `count` places from t on, as the left block of a product. */
static void left_patches(tt_left *left, const int8_t *x, const window *v, int32_t columns,
                         int32_t C, int32_t t, int32_t count, int32_t from, int32_t n) {
    int8_t patches[TT_BLOCK_ROWS * TT_BLOCK_DEPTH];
    for (int32_t k = 0; k < count; k++) {
        part_of_patch(patches + k * n, x, v, C, (t + k) / columns, (t + k) % columns, from, n);
    }
    tt_left_rows(left, patches, n, count, n, 128);
}

/* No value below 0, if relu. */
static inline void cut(int8_t *codes, int32_t relu) {
    const int8_t least = relu ? 0 : -127;
    for (int32_t o = 0; o < TT_BLOCK_COLUMNS; o++) {
        codes[o] = codes[o] > least ? codes[o] : least;
    }
}

/* y = max(y, in) of n channels; where in is larger, the winner is `number`. */
static inline void join(int8_t *restrict y, uint8_t *restrict winners, const int8_t *restrict in,
                        int32_t n, uint8_t number) {
    if (winners != NULL) {
        for (int32_t o = 0; o < n; o++) {
            winners[o] = in[o] > y[o] ? number : winners[o];
        }
    }
    for (int32_t o = 0; o < n; o++) {
        y[o] = in[o] > y[o] ? in[o] : y[o];
    }
}

/* The first window that place `at` may be in. */
static inline int32_t first_window(int32_t at, int32_t size, int32_t stride, int32_t padding) {
    const int32_t beyond = at + padding - size;
    return beyond < 0 ? 0 : beyond / stride + 1;
}

/* n channels of place (r, c) join the windows that it is in; y, winners: those channels. */
static void join_place(int8_t *y, uint8_t *winners, const int8_t *in, int32_t n, int32_t O,
                       const window *v, pair pooled, int32_t r, int32_t c) {
    const int32_t top = first_window(r, v->size.h, v->stride.h, v->padding.h);
    const int32_t left = first_window(c, v->size.w, v->stride.w, v->padding.w);
    for (int32_t p = top; p < pooled.h && p * v->stride.h - v->padding.h <= r; p++) {
        const span down = span_of(p, v->stride.h, v->padding.h, v->size.h, v->image.h);
        for (int32_t q = left; q < pooled.w && q * v->stride.w - v->padding.w <= c; q++) {
            const span along = span_of(q, v->stride.w, v->padding.w, v->size.w, v->image.w);
            const int32_t i = r - down.at, j = c - along.at, at = (p * pooled.w + q) * O;
            const uint8_t number = (uint8_t)(i * v->size.w + j);
            if (i == down.first && j == along.first) {
                memcpy(y + at, in, (size_t)n);
                if (winners != NULL) {
                    memset(winners + at, number, (size_t)n);
                }
            } else {
                join(y + at, winners != NULL ? winners + at : NULL, in, n, number);
            }
        }
    }
}

void tt_conv_pool_s8(int8_t *y, uint8_t *winners, const int8_t *x, const int8_t *w,
                     const int8_t *wt, const int16_t *rows, const int32_t *b, const int32_t *bt,
                     const int32_t *mult, const int32_t *shift, int8_t *scratch, int32_t room,
                     int32_t C, int32_t O, int32_t H, int32_t W, int32_t conv_size_h,
                     int32_t conv_size_w, int32_t conv_stride_h, int32_t conv_stride_w,
                     int32_t conv_padding_h, int32_t conv_padding_w, int32_t pool_size_h,
                     int32_t pool_size_w, int32_t pool_stride_h, int32_t pool_stride_w,
                     int32_t pool_padding_h, int32_t pool_padding_w, int32_t relu,
                     int32_t per_channel) {
    (void)scratch;
    (void)room;
    const window conv = {{H, W},
                         {conv_size_h, conv_size_w},
                         {conv_stride_h, conv_stride_w},
                         {conv_padding_h, conv_padding_w}};
    const pair full = places_of(&conv);
    const window pool = {full,
                         {pool_size_h, pool_size_w},
                         {pool_stride_h, pool_stride_w},
                         {pool_padding_h, pool_padding_w}};
    const pair pooled = places_of(&pool);
    const int32_t K = conv_size_h * conv_size_w * C, places = full.h * full.w;
    int32_t acc[TT_BLOCK_ROWS * TT_BLOCK_COLUMNS];
    tt_left left;
    tt_right right;
    tt_columns columns;
    for (int32_t t = 0; t < places; t += TT_BLOCK_ROWS) {
        const int32_t count = tt_least(places - t, TT_BLOCK_ROWS);
        for (int32_t o = 0; o < O; o += TT_BLOCK_COLUMNS) {
            const int32_t n = tt_least(O - o, TT_BLOCK_COLUMNS);
            tt_choose(&columns, b, bt, rows, mult, shift, o, n, per_channel);
            tt_begin_rows(acc, &columns, count);
            for (int32_t i = 0; i < K; i += TT_BLOCK_DEPTH) {
                const int32_t depth = tt_least(K - i, TT_BLOCK_DEPTH);
                if (o == 0 || K > TT_BLOCK_DEPTH) {
                    left_patches(&left, x, &conv, full.w, C, t, count, i, depth);
                }
                tt_weight_block(&right, w, wt, rows, o, n, i, depth, K);
                tt_product(acc, TT_BLOCK_COLUMNS, &left, &right, count, TT_BLOCK_COLUMNS, depth);
            }
            for (int32_t k = 0; k < count; k++) {
                int8_t codes[TT_BLOCK_COLUMNS];
                tt_requantize_row(acc + k * TT_BLOCK_COLUMNS, &columns, 127);
                tt_put8(codes, acc + k * TT_BLOCK_COLUMNS, TT_BLOCK_COLUMNS);
                cut(codes, relu);
                join_place(y + o, winners != NULL ? winners + o : NULL, codes, n, O, &pool, pooled,
                           (t + k) / full.w, (t + k) % full.w);
            }
        }
    }
    drop_winners(winners, y, pooled.h * pooled.w * O, relu);
}
