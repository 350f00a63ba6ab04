#include "../../kernels/sum_rows.h"

/* 4 * turns accumulators, turns > 0: from at the two operands. */
__attribute__((naked, noinline)) static void
make_fours(int32_t *acc __attribute__((unused)), const int8_t *first __attribute__((unused)),
           const int8_t *second __attribute__((unused)), int32_t turns __attribute__((unused)),
           const sum_row *row __attribute__((unused))) {
    /* clang-format off */
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldr r4, [sp, #36]\n"
                     "ldr r6, [r4, #16]\n"
                     "ldrd r4, r5, [r4, #8]\n"
                     "1:\n"
                     "ldr r10, [r1], #4\n"
                     "ldr r12, [r2], #4\n"
                     "sxtb16 r9, r10\n"
                     "sxtb16 r10, r10, ror #8\n"
                     "sxtb16 r11, r12\n"
                     "sxtb16 r12, r12, ror #8\n"
                     "smulbb r7, r11, r5\n"
                     "smulbb r8, r12, r5\n"
                     "smultb r11, r11, r5\n"
                     "smultb r12, r12, r5\n"
                     "asr r7, r7, r6\n"
                     "asr r8, r8, r6\n"
                     "asr r11, r11, r6\n"
                     "asr r12, r12, r6\n"
                     "smlabb r7, r9, r4, r7\n"
                     "smlabb r8, r10, r4, r8\n"
                     "smlatb r9, r9, r4, r11\n"
                     "smlatb r10, r10, r4, r12\n"
                     "stmia r0!, {r7, r8, r9, r10}\n"
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
    /* clang-format on */
}

void tt_make_sum(int32_t *acc, const void *row, int32_t from, int32_t n) {
    const sum_row *r = (const sum_row *)row;
    const int8_t *a = r->first + from, *b = r->second + from;
    if (n >= 4) {
        make_fours(acc, a, b, n >> 2, r);
    }
    for (int32_t i = n & ~3; i < n; i++) {
        acc[i] = a[i] * r->factor_1 + ((b[i] * r->factor_2) >> r->down);
    }
}
