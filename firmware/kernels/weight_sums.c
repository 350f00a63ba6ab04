#include "products.h"
#include "tinytrain/tt_update.h"

#define LAST_SHIFT 14 /* products are below 2^14: shifted by more, none is left */

static void clear(int32_t *acc, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        acc[i] = 0;
    }
}

/* values / 2^times, rounded half up; times > 0. */
static inline int32_t halved(int32_t value, int32_t times) {
    return times > 30 ? 0 : (value + (1 << (times - 1))) >> times;
}

void tt_weight_sums_s32(int32_t *acc, int16_t *acc_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *x, const tt_step *st, int32_t T, int32_t C, int32_t O) {
    int32_t top = st->row == 0 ? TT_ZERO_EXPONENT : acc_exp[0];
    if (st->row == 0) {
        clear(acc, O * C);
    }
    for (int32_t t = 0; t < T; t++) {
        const int32_t shift = top - g_exp[t];
        if (shift < 0) {
            for (int32_t i = 0; i < O * C; i++) {
                acc[i] = halved(acc[i], -shift);
            }
            top = g_exp[t];
        }
        for (int32_t o = 0; o < O && shift <= LAST_SHIFT; o++) {
            if (shift <= 0) {
                add_gradient_row(acc + o * C, g + t * O, x + t * C, 1, C, O, o);
                continue;
            }
            const int32_t u = g[t * O + o];
            for (int32_t i = 0; i < C; i++) {
                acc[o * C + i] += halved(u * x[t * C + i], shift);
            }
        }
    }
    acc_exp[0] = (int16_t)top;
}
