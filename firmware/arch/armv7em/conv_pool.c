#include "../../kernels/conv_window.h"
#include "layer.h"
#include "tinytrain/tt_conv.h"

/* y = max(y, in) of four channels; where in is larger, the winner is `number`. */
static inline void join_four(int8_t *y, uint8_t *winners, const int8_t *in, uint32_t number) {
    const uint32_t b = dsp_load(in);
    uint32_t a;
    if (winners == NULL) {
        __asm__("ssub8 %0, %1, %2\n"
                "sel %0, %1, %2\n"
                : "=&r"(a)
                : "r"(dsp_load(y)), "r"(b));
    } else {
        uint32_t won = dsp_load(winners);
        __asm__("ssub8 %0, %2, %3\n"
                "sel %0, %2, %3\n"
                "sel %1, %1, %4\n"
                : "=&r"(a), "+&r"(won)
                : "r"(dsp_load(y)), "r"(b), "r"(number));
        dsp_store(winners, won);
    }
    dsp_store(y, a);
}

/* One place of the convolution joins a pooled place; first: it is the first of its window. */
static void join_place(int8_t *y, uint8_t *winners, const int8_t *in, int32_t O, int32_t number,
                       int first) {
    int32_t o = 0;
    if (first) {
        for (; o < O; o++) {
            y[o] = in[o];
        }
        for (int32_t i = 0; winners != NULL && i < O; i++) {
            winners[i] = (uint8_t)number;
        }
        return;
    }
    for (; o + 4 <= O; o += 4) {
        join_four(y + o, winners != NULL ? winners + o : NULL, in + o,
                  (uint32_t)number * 0x01010101u);
    }
    for (; o < O; o++) {
        if (in[o] > y[o]) {
            y[o] = in[o];
            if (winners != NULL) {
                winners[o] = (uint8_t)number;
            }
        }
    }
}

/* Row r of the convolution joins the pooled rows that it is in a window of. */
__attribute__((noinline)) static void join_row(int8_t *y, uint8_t *winners, const int8_t *row,
                                               const window *v, pair pooled, int32_t O, int32_t r) {
    for (int32_t p = 0; p < pooled.h; p++) {
        const span down = span_of(p, v->stride.h, v->padding.h, v->size.h, v->image.h);
        const int32_t i = r - down.at;
        for (int32_t q = 0; i >= down.first && i < down.end && q < pooled.w; q++) {
            const span along = span_of(q, v->stride.w, v->padding.w, v->size.w, v->image.w);
            const int32_t at = (p * pooled.w + q) * O;
            for (int32_t j = along.first; j < along.end; j++) {
                join_place(y + at, winners != NULL ? winners + at : NULL, row + (along.at + j) * O,
                           O, i * v->size.w + j, i == down.first && j == along.first);
            }
        }
    }
}

/* No value below 0. */
static void cut(int8_t *row, int32_t n) {
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32_t v = dsp_load(row + i), kept;
        __asm__("ssub8 %0, %1, %2\n"
                "sel %0, %1, %2\n"
                : "=&r"(kept)
                : "r"(v), "r"(0));
        dsp_store(row + i, kept);
    }
    for (; i < n; i++) {
        row[i] = row[i] > 0 ? row[i] : 0;
    }
}

/* In frames of their own, as join_row: the layer's lie on that of the convolution. */
__attribute__((noinline)) static void put_patch(int8_t *out, const int8_t *x, const window *v,
                                                int32_t C, int32_t r, int32_t c) {
    patch(out, x, v, C, r, c);
}

/* One row of the convolution: its patches two at a time, or the panels of up to `pairs` pairs. */
static void one_row(const layer *l, const int8_t *x, const window *v, int32_t C, int32_t r,
                    int32_t places, int8_t *patches, uint32_t *panels, int32_t pairs, int32_t k) {
    const int32_t K = l->C, words = panel_words(K);
    int32_t end;
    for (int32_t begin = 0; begin < places; begin = end) {
        end = pairs < 2 ? begin + 2 : begin + 2 * pairs;
        end = end < places ? end : places;
        uint32_t *xp = panels + words;
        for (int32_t c = begin; c < end; c += 2) {
            int8_t *const beside = c + 1 < end ? patches + K : patches;
            put_patch(patches, x, v, C, r, c);
            if (beside != patches) {
                put_patch(beside, x, v, C, r, c + 1);
            }
            if (pairs < 2) {
                tt_layer_few(l, NULL, 0, patches, beside, c);
            } else {
                xp = tt_expand(xp, patches, beside, K, k);
            }
        }
        if (pairs >= 2) {
            tt_layer_rows(l, panels, panels + words, begin, end, k);
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
    int8_t *const row = scratch + 2 * K;
    const layer l = {NULL, w, wt, rows, b, bt, mult, shift, K, O, per_channel, row, NULL, 127};
    uint32_t *const panels =
        (uint32_t *)(((uintptr_t)row + (uint32_t)(full.w * O) + 3u) & ~(uintptr_t)3u);
    const int32_t left = room - (int32_t)((int8_t *)panels - scratch);
    const int32_t pairs = left > 0 ? left / (4 * panel_words(K)) - 1 : 0, k = tt_layer_scale(&l);
    for (int32_t r = 0; r < full.h; r++) {
        one_row(&l, x, &conv, C, r, full.w, scratch, panels, pairs, k);
        if (relu) {
            cut(row, full.w * O);
        }
        join_row(y, winners, row, &pool, pooled, O, r);
    }
    for (int32_t i = 0; winners != NULL && i < pooled.h * pooled.w * O; i++) {
        if (tt_abs(y[i]) == 127 || (relu && y[i] == 0)) {
            winners[i] = TT_NOBODY;
        }
    }
}
