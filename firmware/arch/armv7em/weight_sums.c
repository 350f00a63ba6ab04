#include "dsp.h"
#include "gradient_rows.h"
#include "tinytrain/tt_update.h"

#define LAST_SHIFT 14 /* products are below 2^14: shifted by more, none is left */

/* acc += (u * x + half) >> shift of 4 * steps columns, steps > 0. */
/* clang-format off */
__attribute__((naked, noinline)) static void
add_halved(int32_t *acc __attribute__((unused)), const int8_t *x __attribute__((unused)),
           int32_t u __attribute__((unused)), int32_t half __attribute__((unused)),
           int32_t shift __attribute__((unused)), int32_t steps __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldrd r4, r5, [sp, #36]\n"
                     "add r5, r0, r5, lsl #4\n"
                     "1:\n"
                     "ldr r6, [r1], #4\n"
                     "sxtb16 r7, r6\n"
                     "sxtb16 r6, r6, ror #8\n"
                     "ldmia r0, {r8, r9, r10, r11}\n"
                     "smlabb r12, r7, r2, r3\n"
                     "asr r12, r12, r4\n"
                     "add r8, r8, r12\n"
                     "smlabb r12, r6, r2, r3\n"
                     "asr r12, r12, r4\n"
                     "add r9, r9, r12\n"
                     "smlatb r12, r7, r2, r3\n"
                     "asr r12, r12, r4\n"
                     "add r10, r10, r12\n"
                     "smlatb r12, r6, r2, r3\n"
                     "asr r12, r12, r4\n"
                     "add r11, r11, r12\n"
                     "stmia r0!, {r8, r9, r10, r11}\n"
                     "cmp r0, r5\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}
/* clang-format on */

/* What is there, worth half as much `times` times, rounded half up. */
static void halve(int32_t *acc, int32_t n, int32_t times) {
    const int32_t half = times > 30 ? 0 : 1 << (times - 1);
    for (int32_t i = 0; i < n; i++) {
        acc[i] = times > 30 ? 0 : (acc[i] + half) >> times;
    }
}

/* One row, whose products are worth less by 2^shift. */
static void add_shifted(int32_t *acc, const int8_t *g, const int8_t *x, int32_t C, int32_t O,
                        int32_t shift) {
    const int32_t half = 1 << (shift - 1), done = C & ~3;
    for (int32_t o = 0; o < O; o++, acc += C) {
        if (g[o] == 0) {
            continue;
        }
        if (done > 0) {
            add_halved(acc, x, g[o], half, shift, done / 4);
        }
        for (int32_t i = done; i < C; i++) {
            acc[i] += (g[o] * x[i] + half) >> shift;
        }
    }
}

/* One row, or that and the next. */
static void add_plain(int32_t *acc, const int8_t *g, const int8_t *x, int32_t C, int32_t O,
                      int32_t below) {
    for (int32_t o = 0; o < O; o += 2) {
        const int32_t next = o + 1 < O ? 1 : 0; /* of a last one alone: nothing is added */
        const uint32_t u = dsp_pair(g[o], below ? g[O + o] : 0);
        const uint32_t v = next ? dsp_pair(g[o + 1], below ? g[O + o + 1] : 0) : 0;
        tt_add_rows(acc + o * C, acc + (o + next) * C, x, x + below * C, u, v, C);
    }
}

void tt_weight_sums_s32(int32_t *acc, int16_t *acc_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *x, const tt_step *st, int32_t T, int32_t C, int32_t O) {
    int32_t top = st->row == 0 ? TT_ZERO_EXPONENT : acc_exp[0];
    for (int32_t i = 0; st->row == 0 && i < O * C; i++) {
        acc[i] = 0;
    }
    for (int32_t t = 0, n; t < T; t += n) {
        const int32_t shift = top - g_exp[t];
        n = 1;
        if (shift < 0) {
            halve(acc, O * C, -shift);
            top = g_exp[t];
        }
        if (shift <= 0) {
            n = t + 1 < T && g_exp[t + 1] == top ? 2 : 1;
            add_plain(acc, g + t * O, x + t * C, C, O, n - 1);
        } else if (shift <= LAST_SHIFT) {
            add_shifted(acc, g + t * O, x + t * C, C, O, shift);
        }
    }
    acc_exp[0] = (int16_t)top;
}
