#include "tinytrain/tt_pool.h"

#include "tinytrain/tt_tables.h"

/* The weight of each token; gives their sum. */
static int32_t weights(int32_t *p, const int8_t *a, int32_t T, int32_t mult, int32_t shift) {
    int32_t top = a[0];
    for (int32_t t = 1; t < T; t++) {
        top = a[t] > top ? a[t] : top;
    }
    uint32_t sum = 0;
    for (int32_t t = 0; t < T; t++) {
        const int32_t d = tt_requantize(top - a[t], mult, shift, 4095);
        p[t] = (int32_t)(((uint32_t)tt_exp16[d >> 4] * tt_exp256[d & 15] + (1u << 14)) >> 15);
        sum += (uint32_t)p[t];
    }
    const uint32_t rec = (uint32_t)(((uint64_t)1 << 47) / sum);
    int32_t total = 0;
    for (int32_t t = 0; t < T; t++) {
        p[t] = (int32_t)(((uint64_t)(uint32_t)p[t] * rec + ((uint64_t)1 << 31)) >> 32);
        total += p[t];
    }
    return total;
}

void tt_sequence_pool_s8(int8_t *y, const int8_t *x, const int8_t *a, int32_t *scratch, int32_t T,
                         int32_t C, int32_t mult, int32_t shift, int32_t y_mult, int32_t y_shift) {
    (void)weights(scratch, a, T, mult, shift);
    int32_t c = 0;
    for (; c + 3 < C; c += 4, x += 4) {
        int32_t acc[4] = {0, 0, 0, 0};
        const int8_t *at = x;
        for (int32_t t = 0; t < T; t++, at += C) {
            const int32_t p = scratch[t];
            acc[0] += p * at[0];
            acc[1] += p * at[1];
            acc[2] += p * at[2];
            acc[3] += p * at[3];
        }
        for (int32_t i = 0; i < 4; i++) {
            y[c + i] = (int8_t)tt_requantize(acc[i], y_mult, y_shift, 127);
        }
    }
    for (; c < C; c++, x++) {
        int32_t acc = 0;
        for (int32_t t = 0; t < T; t++) {
            acc += scratch[t] * x[t * C];
        }
        y[c] = (int8_t)tt_requantize(acc, y_mult, y_shift, 127);
    }
}

void tt_sequence_pool_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                            const int8_t *a, int32_t *scratch, const tt_step *st, int32_t T,
                            int32_t C, int32_t mult, int32_t shift, int32_t exp_add,
                            int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    int32_t *acc = scratch + T;
    (void)weights(scratch, a, T, mult, shift);
    for (int32_t t = 0; t < T; t++) {
        TT_UNROLL
        for (int32_t c = 0; c < C; c++) {
            acc[c] = scratch[t] * g[c];
        }
        gx_exp[t] = tt_quantize_row(gx + t * C, acc, C, g_exp[0] + exp_add, key, (uint32_t)(t * C));
    }
}

void tt_sequence_pool_da_s8(int8_t *ga, int16_t *ga_exp, const int8_t *g, const int16_t *g_exp,
                            const int8_t *x, const int8_t *a, int32_t *scratch, const tt_step *st,
                            int32_t T, int32_t C, int32_t mult, int32_t shift, int32_t fraction,
                            int32_t exp_add, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    int32_t *d = scratch + T;
    const int32_t total = weights(scratch, a, T, mult, shift);
    int64_t r = 0;
    for (int32_t t = 0; t < T; t++) {
        int32_t dot = 0;
        TT_UNROLL
        for (int32_t c = 0; c < C; c++) {
            dot += g[c] * x[t * C + c];
        }
        d[t] = dot;
        r += (int64_t)scratch[t] * dot;
    }
    for (int32_t t = 0; t < T; t++) {
        const int64_t wide = scratch[t] * ((int64_t)d[t] * total - r);
        const int32_t acc = (int32_t)((wide + ((int64_t)1 << (fraction - 1))) >> fraction);
        ga_exp[t] = tt_quantize_row(ga + t, &acc, 1, g_exp[0] + exp_add, key, (uint32_t)t);
    }
}
