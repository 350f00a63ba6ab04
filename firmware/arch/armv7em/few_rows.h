/* Products of one or two rows by weights that are read as bytes. */
#ifndef TT_FEW_ROWS_H
#define TT_FEW_ROWS_H

#include "panel.h"

/* Enters a loop over blocks of four groups so that `groups` of them are run in all: jumps to label 1
 * plus what is to be left out, `size` bytes a group. `turns` gets the number of times round. */
#define ENTER(groups, turns, temp, size) \
    "rsb " temp ", " groups ", #0\n"     \
    "and " temp ", " temp ", #3\n"       \
    "add " turns ", " groups ", #3\n"    \
    "lsr " turns ", " turns ", #2\n"     \
    "mov r12, #" size "\n"               \
    "mul " temp ", " temp ", r12\n"      \
    "adr r12, 1f\n"                      \
    "add " temp ", " temp ", r12\n"      \
    "mov pc, " temp "\n"                 \
    ".p2align 2\n"

/* out[2 * r + c] = row r of the panel x by row c of an int8 matrix, `groups` of four columns (not 0).
 * Bytes at any address. */
__attribute__((naked, noinline, unused)) static void
dot_2x2_bytes(const uint32_t *x __attribute__((unused)), const int8_t *w0 __attribute__((unused)),
              const int8_t *w1 __attribute__((unused)), int32_t groups __attribute__((unused)),
              int32_t out[4] __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "mov r4, #0\n"
                     "mov r5, #0\n"
                     "mov r6, #0\n"
                     "mov r7, #0\n" ENTER("r3", "r3", "r8", "60") "1:\n"
                                                                  ".rept 4\n"
                                                                  "ldmia r0!, {r8, r9, r10, r11}\n"
                                                                  "ldr r12, [r1], #4\n"
                                                                  "sxtb16 lr, r12\n"
                                                                  "smlad r4, lr, r8, r4\n"
                                                                  "smlad r6, lr, r9, r6\n"
                                                                  "sxtb16 r12, r12, ror #8\n"
                                                                  "smlad r4, r12, r10, r4\n"
                                                                  "smlad r6, r12, r11, r6\n"
                                                                  "ldr r12, [r2], #4\n"
                                                                  "sxtb16 lr, r12\n"
                                                                  "smlad r5, lr, r8, r5\n"
                                                                  "smlad r7, lr, r9, r7\n"
                                                                  "sxtb16 r12, r12, ror #8\n"
                                                                  "smlad r5, r12, r10, r5\n"
                                                                  "smlad r7, r12, r11, r7\n"
                                                                  ".endr\n"
                                                                  "subs r3, #1\n"
                                                                  "bne 1b\n"
                                                                  "2: ldr r0, [sp, #36]\n"
                                                                  "stmia r0, {r4, r5, r6, r7}\n"
                                                                  "pop {r4-r11, pc}\n");
}

/* The same where both matrices are bytes: rows x0 and x1 by w0 and w1. */
__attribute__((naked, noinline, unused)) static void
dot_2x2_rows(const int8_t *x0 __attribute__((unused)), const int8_t *x1 __attribute__((unused)),
             const int8_t *w0 __attribute__((unused)), const int8_t *w1 __attribute__((unused)),
             int32_t groups __attribute__((unused)), int32_t out[4] __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldr r8, [sp, #36]\n"
                     "add r9, r0, r8, lsl #2\n"
                     "vmov s0, r9\n"
                     "mov r4, #0\n"
                     "mov r5, #0\n"
                     "mov r6, #0\n"
                     "mov r7, #0\n" ENTER("r8", "r9", "r10", "80") "1:\n"
                                                                   ".rept 4\n"
                                                                   "ldr r9, [r0], #4\n"
                                                                   "sxtb16 r8, r9\n"
                                                                   "sxtb16 r9, r9, ror #8\n"
                                                                   "ldr r11, [r1], #4\n"
                                                                   "sxtb16 r10, r11\n"
                                                                   "sxtb16 r11, r11, ror #8\n"
                                                                   "ldr lr, [r2], #4\n"
                                                                   "sxtb16 r12, lr\n"
                                                                   "sxtb16 lr, lr, ror #8\n"
                                                                   "smlad r4, r8, r12, r4\n"
                                                                   "smlad r6, r10, r12, r6\n"
                                                                   "smlad r4, r9, lr, r4\n"
                                                                   "smlad r6, r11, lr, r6\n"
                                                                   "ldr lr, [r3], #4\n"
                                                                   "sxtb16 r12, lr\n"
                                                                   "sxtb16 lr, lr, ror #8\n"
                                                                   "smlad r5, r8, r12, r5\n"
                                                                   "smlad r7, r10, r12, r7\n"
                                                                   "smlad r5, r9, lr, r5\n"
                                                                   "smlad r7, r11, lr, r7\n"
                                                                   ".endr\n"
                                                                   "vmov r8, s0\n"
                                                                   "cmp r0, r8\n"
                                                                   "bne 1b\n"
                                                                   "ldr r0, [sp, #40]\n"
                                                                   "stmia r0, {r4, r5, r6, r7}\n"
                                                                   "pop {r4-r11, pc}\n");
}

/* Panel of one row: pairs (0,2), (1,3) of every four columns. */
__attribute__((unused)) static void expand_row(uint32_t *p, const int8_t *x, int32_t groups) {
    for (; groups > 0; groups--, x += 4, p += 2) {
        const uint32_t word = dsp_load(x);
        p[0] = dsp_even(word);
        p[1] = dsp_odd(word);
    }
}

/* Sums of one row, a panel of pairs (0,2), (1,3), by 2 * pairs rows of bytes at multiples of 4,
 * 16 * turns columns: w0 and w1, then `skip` bytes behind the end of each. */
__attribute__((naked, noinline, unused)) static void
dots_of_row(int32_t *sums __attribute__((unused)), const uint32_t *x __attribute__((unused)),
            const int8_t *w0 __attribute__((unused)), const int8_t *w1 __attribute__((unused)),
            int32_t turns __attribute__((unused)), int32_t pairs __attribute__((unused)),
            int32_t skip __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "vldr s2, [sp, #36]\n" /* turns */
                     "vldr s3, [sp, #44]\n" /* skip */
                     "vmov s0, r1\n"
                     "vmov s1, r0\n"
                     "ldr lr, [sp, #40]\n"
                     "1:\n"
                     "vmov r0, s0\n"
                     "vmov r12, s2\n"
                     "mov r4, #0\n"
                     "mov r5, #0\n"
                     "2:\n"
                     ".rept 2\n"
                     "ldmia r0!, {r6, r7, r8, r9}\n"
                     "ldmia r2!, {r10, r11}\n"
                     "sxtb16 r1, r10\n"
                     "smlad r4, r1, r6, r4\n"
                     "sxtb16 r10, r10, ror #8\n"
                     "smlad r4, r10, r7, r4\n"
                     "sxtb16 r1, r11\n"
                     "smlad r4, r1, r8, r4\n"
                     "sxtb16 r11, r11, ror #8\n"
                     "smlad r4, r11, r9, r4\n"
                     "ldmia r3!, {r10, r11}\n"
                     "sxtb16 r1, r10\n"
                     "smlad r5, r1, r6, r5\n"
                     "sxtb16 r10, r10, ror #8\n"
                     "smlad r5, r10, r7, r5\n"
                     "sxtb16 r1, r11\n"
                     "smlad r5, r1, r8, r5\n"
                     "sxtb16 r11, r11, ror #8\n"
                     "smlad r5, r11, r9, r5\n"
                     ".endr\n"
                     "subs r12, #1\n"
                     "bne 2b\n"
                     "vmov r6, r7, s1, s2\n"
                     "vmov r8, s3\n"
                     "add r2, r2, r8\n"
                     "add r3, r3, r8\n"
                     "strd r4, r5, [r6], #8\n"
                     "vmov s1, r6\n"
                     "subs lr, #1\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}

/* sums[0 .. 3] = one row, a panel of pairs (0,2), (1,3), by the
 * columns of 4 * turns rows of bytes, `stride` apart. */
__attribute__((naked, noinline, unused)) static void
columns_by_row(int32_t *sums __attribute__((unused)), const uint32_t *x __attribute__((unused)),
               const int8_t *w __attribute__((unused)), int32_t stride __attribute__((unused)),
               int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldr r4, [sp, #36]\n"
                     "add r12, r3, r3, lsl #1\n"
                     "mov r8, #0\n"
                     "mov r9, #0\n"
                     "mov r10, #0\n"
                     "mov r11, #0\n"
                     "1:\n"
                     "ldmia r1!, {r5, r6}\n"
                     "ldr r7, [r2]\n"
                     "sxtb16 lr, r7\n"
                     "sxtb16 r7, r7, ror #8\n"
                     "smlabb r8, lr, r5, r8\n"
                     "smlabb r9, r7, r5, r9\n"
                     "smlatb r10, lr, r5, r10\n"
                     "smlatb r11, r7, r5, r11\n"
                     "ldr r7, [r2, r3]\n"
                     "sxtb16 lr, r7\n"
                     "sxtb16 r7, r7, ror #8\n"
                     "smlabb r8, lr, r6, r8\n"
                     "smlabb r9, r7, r6, r9\n"
                     "smlatb r10, lr, r6, r10\n"
                     "smlatb r11, r7, r6, r11\n"
                     "ldr r7, [r2, r3, lsl #1]\n"
                     "sxtb16 lr, r7\n"
                     "sxtb16 r7, r7, ror #8\n"
                     "smlabt r8, lr, r5, r8\n"
                     "smlabt r9, r7, r5, r9\n"
                     "smlatt r10, lr, r5, r10\n"
                     "smlatt r11, r7, r5, r11\n"
                     "ldr r7, [r2, r12]\n"
                     "sxtb16 lr, r7\n"
                     "sxtb16 r7, r7, ror #8\n"
                     "smlabt r8, lr, r6, r8\n"
                     "smlabt r9, r7, r6, r9\n"
                     "smlatt r10, lr, r6, r10\n"
                     "smlatt r11, r7, r6, r11\n"
                     "add r2, r2, r3, lsl #2\n"
                     "subs r4, #1\n"
                     "bne 1b\n"
                     "strd r8, r9, [r0]\n"
                     "strd r10, r11, [r0, #8]\n"
                     "pop {r4-r11, pc}\n");
}

#endif
