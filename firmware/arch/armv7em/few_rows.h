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
/* sums[c] and sums[SUMS + c] += rows 0 and 1 of the panel by row c of the weight, steps of four columns,
 * four a round. Bytes at any address. */
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
                     "vmov r8, s1\n"
                     "vmov r12, s5\n"
                     "ldrd r4, r5, [r8]\n"
                     "ldrd r6, r7, [r8, #32]\n"
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

/* clang-format on */

#endif
