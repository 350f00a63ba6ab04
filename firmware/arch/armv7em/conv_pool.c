#pragma GCC optimize("Os") /* the loops are assembly */

#include "../../kernels/conv_rows.h"
#include "layer.h"

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
            patch(patches, x, v, C, r, c);
            if (beside != patches) {
                patch(beside, x, v, C, r, c + 1);
            }
            if (pairs < 2) {
                tt_layer_bytes(l, patches, beside, c);
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
        for (int32_t i = 0; relu && i < full.w * O; i++) {
            row[i] = row[i] > 0 ? row[i] : 0;
        }
        join_row(y, winners, row, &pool, pooled, O, r);
    }
    drop_winners(winners, y, pooled.h * pooled.w * O, relu);
}
