#include "tinytrain/tt_conv.h"

#include "products.h"
#include "tinytrain/tt_update.h"

typedef struct {
    int32_t h;
    int32_t w;
} pair;

/* An image and the places of a window on it. */
typedef struct {
    pair image;
    pair size;
    pair stride;
    pair padding;
} window;

static inline int32_t places(int32_t image, int32_t size, int32_t stride, int32_t padding) {
    return (image + 2 * padding - size) / stride + 1;
}

static pair places_of(const window *v) {
    const pair p = {places(v->image.h, v->size.h, v->stride.h, v->padding.h),
                    places(v->image.w, v->size.w, v->stride.w, v->padding.w)};
    return p;
}

/* The part [first, end) of a window at ``at`` that is inside of the image. */
typedef struct {
    int32_t at;
    int32_t first;
    int32_t end;
} span;

static inline span span_of(int32_t place, int32_t stride, int32_t padding, int32_t size,
                           int32_t image) {
    const int32_t at = place * stride - padding;
    const span s = {at, at < 0 ? -at : 0, image - at < size ? image - at : size};
    return s;
}

/* The patch of one place: zeros, and the rows of the window that are inside. */
static void patch(int8_t *restrict out, const int8_t *restrict x, const window *v, int32_t C,
                  int32_t r, int32_t c) {
    const span down = span_of(r, v->stride.h, v->padding.h, v->size.h, v->image.h);
    const span along = span_of(c, v->stride.w, v->padding.w, v->size.w, v->image.w);
    const int32_t row = v->size.w * C;
    for (int32_t i = 0; i < v->size.h; i++, out += row) {
        const int inside = i >= down.first && i < down.end && along.first < along.end;
        const int32_t first = inside ? along.first * C : row, end = inside ? along.end * C : row;
        const int32_t from = ((down.at + i) * v->image.w + along.at) * C;
        for (int32_t k = 0; k < first; k++) {
            out[k] = 0;
        }
        for (int32_t k = first; k < end; k++) {
            out[k] = x[from + k];
        }
        for (int32_t k = end; k < row; k++) {
            out[k] = 0;
        }
    }
}

/* One row of the convolution joins the pooled row whose window it is row i of. */
static void pool_row(int8_t *y, uint8_t *winners, const int8_t *row, const window *v, int32_t O,
                     int32_t columns, int32_t i, int first) {
    for (int32_t q = 0; q < columns; q++, y += O) {
        const span along = span_of(q, v->stride.w, v->padding.w, v->size.w, v->image.w);
        for (int32_t j = along.first; j < along.end; j++) {
            const int8_t *in = row + (along.at + j) * O;
            const int fresh = first && j == along.first;
            const uint8_t number = (uint8_t)(i * v->size.w + j);
            for (int32_t o = 0; o < O; o++) {
                if (fresh || in[o] > y[o]) {
                    y[o] = in[o];
                    if (winners != NULL) {
                        winners[q * O + o] = number;
                    }
                }
            }
        }
    }
}

void tt_conv_pool_s8(int8_t *y, uint8_t *winners, const int8_t *x, const int8_t *w,
                     const int8_t *wt, const int16_t *rows, const int32_t *b, const int32_t *bt,
                     const int32_t *mult, const int32_t *shift, int8_t *scratch, int32_t C,
                     int32_t O, int32_t H, int32_t W, int32_t conv_size_h, int32_t conv_size_w,
                     int32_t conv_stride_h, int32_t conv_stride_w, int32_t conv_padding_h,
                     int32_t conv_padding_w, int32_t pool_size_h, int32_t pool_size_w,
                     int32_t pool_stride_h, int32_t pool_stride_w, int32_t pool_padding_h,
                     int32_t pool_padding_w, int32_t relu, int32_t per_channel) {
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
    const int32_t K = conv_size_h * conv_size_w * C;
    int8_t *p0 = scratch, *p1 = scratch + K, *row = scratch + 2 * K;
    for (int32_t r = 0; r < full.h; r++) {
        for (int32_t c = 0; c < full.w; c += 2) {
            const int32_t beside = c + 1 < full.w ? 1 : 0;
            patch(p0, x, &conv, C, r, c);
            patch(p1, x, &conv, C, r, c + beside);
            for (int32_t o = 0; o < O; o += 2) {
                const int32_t next = o + 1 < O ? 1 : 0;
                int32_t acc[4];
                dot_2x2(acc, p0, p1, weight_row(w, wt, rows, o, K),
                        weight_row(w, wt, rows, o + next, K), K);
                for (int32_t d = 0; d <= next; d++) {
                    const int32_t q = per_channel ? o + d : 0, bias = bias_of(b, bt, rows, o + d);
                    for (int32_t e = 0; e <= beside; e++) {
                        const int32_t v =
                            tt_requantize(acc[2 * e + d] + bias, mult[q], shift[q], 127);
                        row[(c + e) * O + o + d] = (int8_t)(relu && v < 0 ? 0 : v);
                    }
                }
            }
        }
        for (int32_t p = 0; p < pooled.h; p++) {
            const span down = span_of(p, pool_stride_h, pool_padding_h, pool_size_h, full.h);
            const int32_t i = r - down.at, at = p * pooled.w * O;
            if (i >= down.first && i < down.end) {
                pool_row(y + at, winners != NULL ? winners + at : NULL, row, &pool, O, pooled.w, i,
                         i == down.first);
            }
        }
    }
    for (int32_t i = 0; winners != NULL && i < pooled.h * pooled.w * O; i++) {
        if (tt_abs(y[i]) == 127 || (relu && y[i] == 0)) {
            winners[i] = TT_NOBODY;
        }
    }
}

void tt_conv_mask_grad_s8(int8_t *out, const int8_t *g, const uint8_t *winners, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        out[i] = winners[i] == TT_NOBODY ? 0 : g[i];
    }
}

/* acc += u * patch of place (r, c). */
static void add_patch(int32_t *restrict acc, const int8_t *restrict x, const window *v, int32_t C,
                      int32_t r, int32_t c, int32_t u) {
    const span down = span_of(r, v->stride.h, v->padding.h, v->size.h, v->image.h);
    const span along = span_of(c, v->stride.w, v->padding.w, v->size.w, v->image.w);
    for (int32_t i = down.first; i < down.end; i++) {
        const int32_t from = ((down.at + i) * v->image.w + along.at) * C;
        int32_t *restrict to = acc + i * v->size.w * C;
        for (int32_t k = along.first * C; k < along.end * C; k++) {
            to[k] += u * x[from + k];
        }
    }
}

void tt_conv_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                       const int16_t *g_exp, const int8_t *x, const float *coefs,
                       const int16_t *rows, const uint8_t *winners, int32_t *scratch,
                       const tt_step *st, int32_t C, int32_t O, int32_t H, int32_t W,
                       int32_t conv_size_h, int32_t conv_size_w, int32_t conv_stride_h,
                       int32_t conv_stride_w, int32_t conv_padding_h, int32_t conv_padding_w,
                       int32_t pool_size_h, int32_t pool_size_w, int32_t pool_stride_h,
                       int32_t pool_stride_w, int32_t pool_padding_h, int32_t pool_padding_w,
                       int32_t per_channel, int32_t stream) {
    const window conv = {{H, W},
                         {conv_size_h, conv_size_w},
                         {conv_stride_h, conv_stride_w},
                         {conv_padding_h, conv_padding_w}};
    const window pool = {places_of(&conv),
                         {pool_size_h, pool_size_w},
                         {pool_stride_h, pool_stride_w},
                         {pool_padding_h, pool_padding_w}};
    const pair pooled = places_of(&pool);
    const int32_t K = conv_size_h * conv_size_w * C;
    tt_weight_step s = tt_weight_step_begin(st, fraction, moment, g_exp[0], stream);
    for (int32_t o = 0; o < O; o++) {
        if (rows != NULL && rows[o] < 0) {
            continue;
        }
        for (int32_t i = 0; i < K; i++) {
            scratch[i] = 0;
        }
        for (int32_t p = 0; p < pooled.h * pooled.w; p++) {
            const int32_t winner = winners[p * O + o], u = g[p * O + o];
            if (winner != TT_NOBODY && u != 0) {
                const int32_t r = p / pooled.w * pool_stride_h - pool_padding_h;
                const int32_t c = p % pooled.w * pool_stride_w - pool_padding_w;
                add_patch(scratch, x, &conv, C, r + winner / pool_size_w, c + winner % pool_size_w,
                          u);
            }
        }
        const float *coef = moment != NULL ? NULL : coefs + (per_channel ? o : 0);
        tt_weight_step_row(&s, w, fraction, scratch, K, coef);
    }
    tt_weight_step_end(&s, moment, st->beta);
}
