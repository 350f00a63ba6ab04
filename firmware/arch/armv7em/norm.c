#pragma GCC optimize("Os") /* the loops are assembly */

#include "tinytrain/tt_norm.h"

#include "../../kernels/norm_rows.h"
#include "dsp.h"
#include "round.h"
#include "row_product.h"
#include "tinytrain/tt_rows.h"

#define PART 64 /* values that are held at once */

/* All but the last C % 4 elements; gives how many. */
static int32_t scale_fours(int8_t *y, const int8_t *x, int32_t C, norm_scale s) {
    int32_t i = 0, bias = (127 << 16) + (1 << 15), more = -s.less;
    const int32_t each = s.each, factor = s.factor;
    __asm__("" : "+r"(bias), "+r"(more)); /* in registers: multiplications with addition */
    for (; i + 3 < C; i += 4) {
        const int32_t v0 = dsp_multiply_high(x[i] * each + more, factor, bias);
        const int32_t v1 = dsp_multiply_high(x[i + 1] * each + more, factor, bias);
        const int32_t v2 = dsp_multiply_high(x[i + 2] * each + more, factor, bias);
        const int32_t v3 = dsp_multiply_high(x[i + 3] * each + more, factor, bias);
        dsp_store(y + i, dsp_codes(dsp_tops(v2, v0), dsp_tops(v3, v1)));
    }
    return i;
}

void tt_layernorm_s8(int8_t *y, uint32_t *r, const int8_t *x, int32_t T, int32_t C, int32_t eps,
                     int32_t k, int32_t k_shift, int32_t shift) {
    for (int32_t t = 0; t < T; t++, x += C, y += C) {
        const row_product of = tt_row_product(x, x, C);
        const int32_t factor = norm_factor(of.sum, of.product, C, eps, k, k_shift);
        norm_scale s;
        r[t] = (uint32_t)factor;
        const int32_t done =
            norm_scale_of(&s, of.sum, factor, C, shift) ? scale_fours(y, x, C, s) : 0;
        norm_row_wide(y, x, done, of.sum, factor, C, shift);
    }
}

typedef struct {
    int32_t each, more, u; /* value = g * each + more - y * u */
} value_factors;

/* 2 * turns values, turns > 0; gives the larger of peak and their largest magnitude: where a value
 * lies outside of +-peak, value + peak is above 2 * peak as an unsigned number. */
__attribute__((naked, noinline)) static int32_t
value_pairs(int32_t *values __attribute__((unused)), const int8_t *g __attribute__((unused)),
            const int8_t *y __attribute__((unused)), int32_t turns __attribute__((unused)),
            const value_factors *f __attribute__((unused)), int32_t peak __attribute__((unused))) {
    /* clang-format off */
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldrd r4, r7, [sp, #36]\n"
                     "ldm r4, {r4, r5, r6}\n"
                     "lsl r8, r7, #1\n"
                     "1:\n"
                     "ldrsb r10, [r1, #1]\n"
                     "ldrsb r9, [r1], #2\n"
                     "ldrsb r12, [r2, #1]\n"
                     "ldrsb r11, [r2], #2\n"
                     "mla r9, r9, r4, r5\n"
                     "mla r10, r10, r4, r5\n"
                     "mls r9, r11, r6, r9\n"
                     "mls r10, r12, r6, r10\n"
                     "add r11, r9, r7\n"
                     "cmp r11, r8\n"
                     "bhi 3f\n"
                     "2:\n"
                     "add r12, r10, r7\n"
                     "cmp r12, r8\n"
                     "bhi 5f\n"
                     "4:\n"
                     "strd r9, r10, [r0], #8\n"
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "mov r0, r7\n"
                     "pop {r4-r11, pc}\n"
                     "3:\n"
                     "eor r7, r9, r9, asr #31\n"
                     "sub r7, r7, r9, asr #31\n"
                     "lsl r8, r7, #1\n"
                     "b 2b\n"
                     "5:\n"
                     "eor r7, r10, r10, asr #31\n"
                     "sub r7, r7, r10, asr #31\n"
                     "lsl r8, r7, #1\n"
                     "b 4b\n");
    /* clang-format on */
}

static int32_t make_values(int32_t *values, const int8_t *g, const int8_t *y, int32_t n,
                           const value_factors *f, int32_t peak) {
    if (n > 1) {
        peak = value_pairs(values, g, y, n >> 1, f, peak);
    }
    if ((n & 1) != 0) {
        const int32_t value = g[n - 1] * f->each + f->more - y[n - 1] * f->u, a = tt_abs(value);
        values[n - 1] = value;
        peak = a > peak ? a : peak;
    }
    return peak;
}

static void round_values(int8_t *out, int32_t *values, int32_t n, norm_grad_scale s, uint32_t key,
                         uint32_t first) {
    int32_t i = 0;
    for (; i < n && s.left > 0; i++) {
        values[i] = (int32_t)((uint32_t)values[i] << s.left);
    }
    i = 0;
    if (n >= 4 && (first & 1u) == 0 && s.rest == 16) {
        tt_round_products(out, values, key + (first >> 1) * TT_GOLDEN, n >> 2, -s.factor);
        i = n & ~3;
    }
    const int32_t done = i;
    for (; i < n; i++) {
        values[i] = tt_multiply_high(values[i], s.factor);
    }
    tt_round_row(out + done, values + done, n - done, s.rest, key, first + (uint32_t)done);
}

void tt_layernorm_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *y, const uint32_t *r, const tt_step *st, int32_t T, int32_t C,
                        int32_t mult, int32_t shift, int32_t fraction, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++, g += C, y += C, gx += C) {
        const row_product of = tt_row_product(g, y, C);
        int32_t values[PART], peak = 0, at = 0, count = 0;
        const norm_values v = norm_values_of(of.sum, of.product, C, mult, shift, fraction);
        const value_factors f = {v.each, -v.less, v.u};
        for (int32_t next = 0; next < C; next += count) {
            at = next;
            count = C - at < PART ? C - at : PART;
            peak = make_values(values, g + at, y + at, count, &f, peak);
        }
        if (peak == 0 || r[t] == 0) {
            gx_exp[t] = norm_zero_row(gx, C);
            continue;
        }
        const norm_grad_scale s = norm_grad_scale_of(peak, r[t]);
        const uint32_t first = (uint32_t)((st->row + t) * C);
        for (; at >= 0; at -= PART, count = PART) {
            if (at + count < C) { /* the last part is there from the search for the peak */
                (void)make_values(values, g + at, y + at, count, &f, peak);
            }
            round_values(gx + at, values, count, s, key, first + (uint32_t)at);
        }
        gx_exp[t] = (int16_t)(g_exp[t] + exp_add + s.shift);
    }
}
