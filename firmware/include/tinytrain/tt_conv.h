/* Convolution with ReLU and max-pooling, and the update of its weight.
 *
 * Letters: H, W rows and columns of the input image, C channels in, O channels out, h, w the rows
 * and columns of a window; P pooled pixels. Images are [rows*columns, channels], row-major; a weight
 * is [O, conv_size_h * conv_size_w * C], split as that of a linear layer (tt_linear.h). Places in
 * the padding count as zero in a convolution and not at all in a maximum. Nothing may alias but
 * where it is said.
 *
 * Reference: tinytrain/ops/conv.py, bit for bit.
 */
#ifndef TT_CONV_H
#define TT_CONV_H

#include "tinytrain/tt_math.h"

/* The winner where no gradient passes. */
#define TT_NOBODY 255

/* y[p,o] = max over the pooling window of v; v = clamp((acc * mult[o] + 2^(shift[o]-1)) >> shift[o],
 * +-127), at least 0 if relu; acc = bias[o] + sum_i patch[i] * w[o,i] (at most 66572 products).
 * winners, unless NULL: the place in the pooling window of the first maximum, row by row; TT_NOBODY
 * where y is +-127, and where it is 0 if relu.
 *   y int8, winners uint8 [P,O]   x int8 [H*W,C]   bias int32   mult, shift int32 [O] or [1]
 *   scratch: int8, two patches and one row of the convolution; room: bytes of it, see tt_linear.h */
void tt_conv_pool_s8(int8_t *y, uint8_t *winners, const int8_t *x, const int8_t *w,
                     const int8_t *wt, const int16_t *rows, const int32_t *b, const int32_t *bt,
                     const int32_t *mult, const int32_t *shift, int8_t *scratch, int32_t room,
                     int32_t C, int32_t O, int32_t H, int32_t W, int32_t conv_size_h,
                     int32_t conv_size_w, int32_t conv_stride_h, int32_t conv_stride_w,
                     int32_t conv_padding_h, int32_t conv_padding_w, int32_t pool_size_h,
                     int32_t pool_size_w, int32_t pool_stride_h, int32_t pool_stride_w,
                     int32_t pool_padding_h, int32_t pool_padding_w, int32_t relu,
                     int32_t per_channel);

/* out[i] = nobody won i ? 0 : g[i].   int8 [n]; out may be g. */
void tt_conv_mask_grad_s8(int8_t *out, const int8_t *g, const uint8_t *winners, int32_t n);

/* Weight gradient acc[k,i] = sum_p g[p,o] * patch(winner of p,o)[i] and the step of tt_update.h, for
 * the trained rows o of k.   g int8, winners uint8 [P,O]   g_exp int16 [1]   scratch: int32, one row
 * of the weight */
void tt_conv_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                       const int16_t *g_exp, const int8_t *x, const float *coefs,
                       const int16_t *rows, const uint8_t *winners, int32_t *scratch,
                       const tt_step *st, int32_t C, int32_t O, int32_t H, int32_t W,
                       int32_t conv_size_h, int32_t conv_size_w, int32_t conv_stride_h,
                       int32_t conv_stride_w, int32_t conv_padding_h, int32_t conv_padding_w,
                       int32_t pool_size_h, int32_t pool_size_w, int32_t pool_stride_h,
                       int32_t pool_stride_w, int32_t pool_padding_h, int32_t pool_padding_w,
                       int32_t per_channel, int32_t stream);

#endif
