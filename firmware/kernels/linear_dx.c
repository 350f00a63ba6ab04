#include "products.h"
#include "tinytrain/tt_hot.h"
#include "tinytrain/tt_linear.h"

/* acc[i] = sum_o g[o] * w[o,i], two weight rows a pass; the one behind an odd O counts 0 times. Sums
 * are written from the left, so that each product is one multiply-accumulate. */
TT_HOT static void input_gradient_row(int32_t *restrict acc, const int8_t *restrict g,
                                      const int8_t *w, const int8_t *wt, const int16_t *rows,
                                      int32_t C, int32_t O) {
    for (int32_t i = 0; i < C; i++) {
        acc[i] = 0;
    }
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? 1 : 0;
        const int8_t *restrict w0 = weight_row(w, wt, rows, o, C);
        const int8_t *restrict w1 = weight_row(w, wt, rows, o + next, C);
        const int32_t u = g[o], v = next ? g[o + 1] : 0;
        for (int32_t i = 0; i < C; i++) {
            acc[i] = acc[i] + u * w0[i] + v * w1[i];
        }
    }
}

/* The same for two rows of g at once: four products a pair of loads of the weight. */
TT_HOT static void input_gradient_pair(int32_t *restrict acc0, int32_t *restrict acc1,
                                       const int8_t *restrict g0, const int8_t *restrict g1,
                                       const int8_t *w, const int8_t *wt, const int16_t *rows,
                                       int32_t C, int32_t O) {
    for (int32_t i = 0; i < C; i++) {
        acc0[i] = 0;
        acc1[i] = 0;
    }
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? 1 : 0;
        const int8_t *restrict w0 = weight_row(w, wt, rows, o, C);
        const int8_t *restrict w1 = weight_row(w, wt, rows, o + next, C);
        const int32_t u0 = g0[o], v0 = next ? g0[o + 1] : 0;
        const int32_t u1 = g1[o], v1 = next ? g1[o + 1] : 0;
        for (int32_t i = 0; i < C; i++) {
            const int32_t a = w0[i], b = w1[i];
            acc0[i] = acc0[i] + u0 * a + v0 * b;
            acc1[i] = acc1[i] + u1 * a + v1 * b;
        }
    }
}

TT_HOT void tt_linear_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                            const int8_t *w, const int8_t *wt, const int16_t *rows,
                            int32_t *scratch, const tt_step *st, int32_t room, int32_t T, int32_t C,
                            int32_t O, int32_t exp_add, int32_t stream) {
    (void)room;
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t += 2) {
        const int32_t held = t + 1 < T ? 2 : 1;
        if (held == 2) {
            input_gradient_pair(scratch, scratch + C, g + t * O, g + (t + 1) * O, w, wt, rows, C,
                                O);
        } else {
            input_gradient_row(scratch, g + t * O, w, wt, rows, C, O);
        }
        for (int32_t r = t; r < t + held; r++) {
            gx_exp[r] = tt_quantize_row(gx + r * C, scratch + (r - t) * C, C, g_exp[r] + exp_add,
                                        key, (uint32_t)((st->row + r) * C));
        }
    }
}
