#include "tinytrain/tt_conv.h"

#include "conv_window.h"
#include "products.h"
#include "tinytrain/tt_update.h"

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
