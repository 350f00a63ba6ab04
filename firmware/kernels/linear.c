#include "tinytrain/tt_linear.h"

#include "products.h"
#include "tinytrain/tt_hot.h"

/* Both widths of linear: y8 or y16 is NULL. The last odd row or column repeats its neighbour's
 * pointer, so that its products are made twice and stored once. */
TT_HOT static inline void linear(int8_t *y8, int16_t *y16, int32_t limit, const int8_t *x,
                                 const int8_t *w, const int8_t *wt, const int16_t *rows,
                                 const int32_t *b, const int32_t *bt, const int32_t *mult,
                                 const int32_t *shift, int32_t T, int32_t C, int32_t O,
                                 int32_t per_channel) {
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? 1 : 0;
        const int8_t *w0 = weight_row(w, wt, rows, o, C);
        const int8_t *w1 = weight_row(w, wt, rows, o + next, C);
        const int32_t bias[2] = {bias_of(b, bt, rows, o), bias_of(b, bt, rows, o + next)};
        for (int32_t t = 0; t < T; t += 2) {
            const int32_t below = t + 1 < T ? 1 : 0;
            int32_t acc[4];
            dot_2x2(acc, x + t * C, x + (t + below) * C, w0, w1, C);
            for (int32_t r = 0; r <= below; r++) {
                for (int32_t c = 0; c <= next; c++) {
                    const int32_t q = per_channel ? o + c : 0;
                    const int32_t at = (t + r) * O + o + c;
                    const int32_t v =
                        tt_requantize(with_bias(acc[2 * r + c], bias[c]), mult[q], shift[q], limit);
                    if (y8 != NULL) {
                        y8[at] = (int8_t)v;
                    } else {
                        y16[at] = (int16_t)v;
                    }
                }
            }
        }
    }
}

TT_HOT void tt_linear_s8(int8_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                         const int16_t *rows, const int32_t *b, const int32_t *bt,
                         const int32_t *mult, const int32_t *shift, int32_t *scratch, int32_t room,
                         int32_t T, int32_t C, int32_t O, int32_t per_channel) {
    (void)scratch;
    (void)room;
    linear(y, NULL, 127, x, w, wt, rows, b, bt, mult, shift, T, C, O, per_channel);
}

TT_HOT void tt_linear_s16(int16_t *y, const int8_t *x, const int8_t *w, const int8_t *wt,
                          const int16_t *rows, const int32_t *b, const int32_t *bt,
                          const int32_t *mult, const int32_t *shift, int32_t *scratch, int32_t room,
                          int32_t T, int32_t C, int32_t O, int32_t per_channel) {
    (void)scratch;
    (void)room;
    linear(NULL, y, 32767, x, w, wt, rows, b, bt, mult, shift, T, C, O, per_channel);
}
