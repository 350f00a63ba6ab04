/* Products of one or two rows by weights that are read as bytes. */
#ifndef TT_FEW_ROWS_H
#define TT_FEW_ROWS_H

#include "layer.h"

/* What products with rows of the weight read from registers of the FPU; the order is that of the
 * code. */
typedef struct {
    const uint32_t *x; /* a panel */
    int32_t *sums;
    int32_t turns,
        skip;      /* rounds of a product, the first of which begins at `left_out` steps; bytes
                            from the end of a row to that of the next but one */
    int32_t pairs; /* of rows of the weight */
    int32_t left_out;
} few_rows;

/* clang-format off */
/* sums[c] and sums[SUMS + c] = rows 0 and 1 of the panel by row c of the weight, steps of four
 * columns, four a round. Bytes at any address. */
__attribute__((naked, noinline, aligned(4), unused)) static void
dots_of_two(const few_rows *run __attribute__((unused)), const int8_t *w0 __attribute__((unused)),
            const int8_t *w1 __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "vldmia r0, {s0-s5}\n"
                     "vmov r3, s5\n"
                     "mov r4, #60\n" /* bytes of code of a step */
                     "adr r5, 2f\n"
                     "mla r3, r3, r4, r5\n"
                     "vmov s5, r3\n"
                     "1:\n"
                     "vmov r0, s0\n"
                     "vmov r3, s2\n"
                     "vmov r12, s5\n"
                     "mov r4, #0\n"
                     "mov r5, #0\n"
                     "mov r6, #0\n"
                     "mov r7, #0\n"
                     "mov pc, r12\n"
                     ".p2align 2\n"
                     "2:\n"
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
                     "bne 2b\n"
                     "vmov r8, s1\n"
                     "vmov r9, s3\n"
                     "add r1, r1, r9\n"
                     "add r2, r2, r9\n"
                     "strd r6, r7, [r8, #32]\n"
                     "strd r4, r5, [r8], #8\n"
                     "vmov s1, r8\n"
                     "vmov r3, s4\n"
                     "subs r3, #1\n"
                     "vmov s4, r3\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}

/* sums[c] = one row, a panel of pairs (0,2), (1,3), by row c of the weight, steps of eight columns, four
 * a round. Bytes at multiples of 4. */
__attribute__((naked, noinline, aligned(4), unused)) static void
dots_of_one(const few_rows *run __attribute__((unused)), const int8_t *w0 __attribute__((unused)),
            const int8_t *w1 __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "vldmia r0, {s0-s5}\n"
                     "vmov r3, s5\n"
                     "mov r4, #76\n" /* bytes of code of a step */
                     "adr r5, 2f\n"
                     "mla r3, r3, r4, r5\n"
                     "vmov s5, r3\n"
                     "1:\n"
                     "vmov r0, s0\n"
                     "vmov r3, s2\n"
                     "vmov r12, s5\n"
                     "mov r4, #0\n"
                     "mov r5, #0\n"
                     "mov pc, r12\n"
                     ".p2align 2\n"
                     "2:\n"
                     ".rept 4\n"
                     "ldmia r0!, {r6, r7, r8, r9}\n"
                     "ldmia r1!, {r10, r11}\n"
                     "sxtb16 r12, r10\n"
                     "smlad r4, r12, r6, r4\n"
                     "sxtb16 r10, r10, ror #8\n"
                     "smlad r4, r10, r7, r4\n"
                     "sxtb16 r12, r11\n"
                     "smlad r4, r12, r8, r4\n"
                     "sxtb16 r11, r11, ror #8\n"
                     "smlad r4, r11, r9, r4\n"
                     "ldmia r2!, {r10, r11}\n"
                     "sxtb16 r12, r10\n"
                     "smlad r5, r12, r6, r5\n"
                     "sxtb16 r10, r10, ror #8\n"
                     "smlad r5, r10, r7, r5\n"
                     "sxtb16 r12, r11\n"
                     "smlad r5, r12, r8, r5\n"
                     "sxtb16 r11, r11, ror #8\n"
                     "smlad r5, r11, r9, r5\n"
                     ".endr\n"
                     "subs r3, #1\n"
                     "bne 2b\n"
                     "vmov r8, s1\n"
                     "vmov r9, s3\n"
                     "add r1, r1, r9\n"
                     "add r2, r2, r9\n"
                     "strd r4, r5, [r8], #8\n"
                     "vmov s1, r8\n"
                     "vmov r3, s4\n"
                     "subs r3, #1\n"
                     "vmov s4, r3\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}

/* sums = rows x0 and x1, also bytes, by rows w0 and w1 of the weight: 00, 01, 10, 11; steps of four
 * columns, not 0. */
__attribute__((naked, noinline, aligned(4), unused)) static void
dots_of_bytes(const int8_t *x0 __attribute__((unused)), const int8_t *x1 __attribute__((unused)),
              const int8_t *w0 __attribute__((unused)), const int8_t *w1 __attribute__((unused)),
              int32_t steps __attribute__((unused)), int32_t sums[4] __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldr r8, [sp, #36]\n"
                     "add r9, r0, r8, lsl #2\n"
                     "vmov s0, r9\n"
                     "mov r4, #0\n"
                     "mov r5, #0\n"
                     "mov r6, #0\n"
                     "mov r7, #0\n"
                     "rsb r8, r8, #0\n"
                     "and r8, r8, #3\n"
                     "mov r9, #80\n" /* bytes of code of a step */
                     "adr r10, 1f\n"
                     "mla r8, r8, r9, r10\n"
                     "mov pc, r8\n"
                     ".p2align 2\n"
                     "1:\n"
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
/* clang-format on */

#endif
