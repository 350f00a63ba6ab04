#include "conv_rows.h"
#include "products.h"

void tt_conv_pool_s8(int8_t *y, uint8_t *winners, const int8_t *x, const int8_t *w,
                     const int8_t *wt, const int16_t *rows, const int32_t *b, const int32_t *bt,
                     const int32_t *mult, const int32_t *shift, int8_t *scratch, int32_t room,
                     int32_t C, int32_t O, int32_t H, int32_t W, int32_t conv_size_h,
                     int32_t conv_size_w, int32_t conv_stride_h, int32_t conv_stride_w,
                     int32_t conv_padding_h, int32_t conv_padding_w, int32_t pool_size_h,
                     int32_t pool_size_w, int32_t pool_stride_h, int32_t pool_stride_w,
                     int32_t pool_padding_h, int32_t pool_padding_w, int32_t relu,
                     int32_t per_channel) {
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
                            tt_requantize(with_bias(acc[2 * e + d], bias), mult[q], shift[q], 127);
                        row[(c + e) * O + o + d] = (int8_t)(relu && v < 0 ? 0 : v);
                    }
                }
            }
        }
        join_row(y, winners, row, &pool, pooled, O, r);
    }
    drop_winners(winners, y, pooled.h * pooled.w * O, relu);
}
