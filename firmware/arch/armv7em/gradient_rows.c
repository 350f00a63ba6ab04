#include "gradient_rows.h"

#include "dsp.h"

/* acc0 += low * a + high * b and acc1 alike, where pair0 and pair1 are low and high of each and a and
 * b rows of bytes, four columns a step, steps > 0. */
/* clang-format off */
__attribute__((naked, noinline)) static void
add_products(int32_t *acc0 __attribute__((unused)), int32_t *acc1 __attribute__((unused)),
             const int8_t *a __attribute__((unused)), const int8_t *b __attribute__((unused)),
             uint32_t pair0 __attribute__((unused)), uint32_t pair1 __attribute__((unused)),
             int32_t steps __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldrd r4, r5, [sp, #36]\n"
                     "ldr r6, [sp, #44]\n"
                     "add r7, r0, r6, lsl #4\n"
                     "vmov s0, r7\n"
                     "rsb r6, r6, #0\n"
                     "and r6, r6, #1\n"
                     "mov r7, #80\n" /* bytes of code of a step */
                     "adr r8, 1f\n"
                     "mla r6, r6, r7, r8\n"
                     "mov pc, r6\n"
                     ".p2align 2\n"
                     "1:\n"
                     ".rept 2\n"
                     "ldr r6, [r2], #4\n"
                     "ldr r7, [r3], #4\n"
                     "pkhbt r8, r6, r7, lsl #16\n"
                     "pkhtb r10, r7, r6, asr #16\n"
                     "sxtb16 r6, r8\n"
                     "sxtb16 r7, r8, ror #8\n"
                     "sxtb16 r8, r10\n"
                     "sxtb16 r9, r10, ror #8\n"
                     "ldmia r0, {r10, r11, r12, lr}\n"
                     "smlad r10, r6, r4, r10\n"
                     "smlad r11, r7, r4, r11\n"
                     "smlad r12, r8, r4, r12\n"
                     "smlad lr, r9, r4, lr\n"
                     "stmia r0!, {r10, r11, r12, lr}\n"
                     "ldmia r1, {r10, r11, r12, lr}\n"
                     "smlad r10, r6, r5, r10\n"
                     "smlad r11, r7, r5, r11\n"
                     "smlad r12, r8, r5, r12\n"
                     "smlad lr, r9, r5, lr\n"
                     "stmia r1!, {r10, r11, r12, lr}\n"
                     ".endr\n"
                     "vmov r10, s0\n"
                     "cmp r0, r10\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}
/* clang-format on */

void tt_add_rows(int32_t *acc0, int32_t *acc1, const int8_t *a, const int8_t *b, uint32_t pair0,
                 uint32_t pair1, int32_t n) {
    const int32_t done = n & ~3;
    if (done > 0) {
        add_products(acc0, acc1, a, b, pair0, pair1, done / 4);
    }
    for (int32_t i = done; i < n; i++) {
        const uint32_t both = dsp_pair(a[i], b[i]);
        acc0[i] = dsp_dot(both, pair0, acc0[i]);
        acc1[i] = dsp_dot(both, pair1, acc1[i]);
    }
}
