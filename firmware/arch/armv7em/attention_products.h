/* Assembly of attention_sums.c: products of panels, and panels of columns. */
#ifndef TT_ATTENTION_PRODUCTS_H
#define TT_ATTENTION_PRODUCTS_H

#include "attention_tiles.h"
#include "tile_steps.h"

/* The first group, then, from the middle of eight on, the others. A group takes 40 bytes of code. */
__attribute__((naked, noinline, aligned(4))) void tt_products(product_run *run
                                                              __attribute__((unused))) {
    __asm__ volatile("push {r0, r4-r11, lr}\n"
                     "vldmia r0, {s0-s5}\n"
                     "ldr r0, [r0, #24]\n"
                     "vmov r2, s1\n"
                     "vmov r1, s4\n"
                     "sub r1, r1, r2\n"
                     "lsr r1, r1, #4\n"
                     "sub r1, r1, #1\n"
                     "and r1, r1, #7\n"
                     "mov r3, #40\n"
                     "mul r1, r1, r3\n"
                     "adr r3, 3f\n"
                     "sub r3, r3, r1\n"
                     "orr r3, r3, #1\n"
                     "vmov s6, r3\n"
                     "mov r1, r2\n"
                     "1:\n" TILE_PLAIN "vmov r6, s6\n"
                     "bx r6\n"
                     "2:\n"
                     ".rept 8\n" TILE_PLAIN_STEP ".endr\n"
                     "3:\n"
                     "vmov r6, r7, s4, s5\n"
                     "cmp r1, r6\n"
                     "bne 2b\n"
                     "vmov r8, r1, s0, s1\n"
                     "vmov r11, r12, s2, s3\n"
                     "strd r2, r3, [r11], #8\n"
                     "strd r4, r5, [r12], #8\n"
                     "vmov s2, s3, r11, r12\n"
                     "add r0, r0, r8\n"
                     "cmp r0, r7\n"
                     "bne 1b\n"
                     "pop {r0}\n"
                     "strd r11, r12, [r0, #8]\n"
                     "pop {r4-r11, pc}\n");
}

/* n sums, a multiple of 2, n > 0, to int8: round-half-up(acc * mult * 2^-32 * 2^-shift) + 127 to uint8,
 * then - 127 with saturation. Four are read for the last two. */
#define CODE(a)                     \
    "smmla " a ", " a ", r3, r12\n" \
    "asr " a ", " a ", r9\n"        \
    "usat " a ", #8, " a "\n"
__attribute__((naked, noinline)) static void put_codes(int8_t *y __attribute__((unused)),
                                                       const int32_t *acc __attribute__((unused)),
                                                       int32_t n __attribute__((unused)),
                                                       int32_t mult __attribute__((unused)),
                                                       int32_t shift __attribute__((unused))) {
    __asm__ volatile("push {r4-r9}\n"
                     "ldr r9, [sp, #24]\n"
                     "mov r12, #255\n"
                     "sub r8, r9, #1\n"
                     "lsl r12, r12, r8\n"
                     "mov r8, #0x01010101\n"
                     "1:\n"
                     "ldmia r1!, {r4, r5, r6, r7}\n" CODE("r4") CODE("r5") CODE("r6")
                         CODE("r7") "orr r4, r4, r5, lsl #8\n"
                                    "orr r6, r6, r7, lsl #8\n"
                                    "orr r4, r4, r6, lsl #16\n"
                                    "uqadd8 r4, r4, r8\n"
                                    "eor r4, r4, #0x80808080\n"
                                    "subs r2, #4\n"
                                    "blt 2f\n"
                                    "str r4, [r0], #4\n"
                                    "bgt 1b\n"
                                    "b 3f\n"
                                    "2:\n"
                                    "strh r4, [r0]\n"
                                    "3:\n"
                                    "pop {r4-r9}\n"
                                    "bx lr\n");
}

/* A panel of 4 * turns bytes of two rows at any address, turns > 0. Gives the word behind it. */
#define EXPAND_ROWS(name, EXTEND)                                                          \
    __attribute__((naked, noinline)) static uint32_t *name(                                \
        uint32_t *p __attribute__((unused)), const void *a __attribute__((unused)),        \
        const void *b __attribute__((unused)), int32_t turns __attribute__((unused))) {    \
        __asm__ volatile("push {r4-r7}\n"                                                  \
                         "1:\n"                                                            \
                         "ldr r6, [r1], #4\n"                                              \
                         "ldr r7, [r2], #4\n" EXTEND " r4, r6\n" EXTEND " r5, r7\n" EXTEND \
                         " r6, r6, ror #8\n" EXTEND " r7, r7, ror #8\n"                    \
                         "stmia r0!, {r4, r5, r6, r7}\n"                                   \
                         "subs r3, #1\n"                                                   \
                         "bne 1b\n"                                                        \
                         "pop {r4-r7}\n"                                                   \
                         "bx lr\n");                                                       \
    }

EXPAND_ROWS(expand_signed, "sxtb16")
EXPAND_ROWS(expand_unsigned, "uxtb16")

/* Four columns of n rows of bytes, `stride` apart, as panels of two columns each, the second behind the
 * first. Rows up to a multiple of 4, not 0. */
#define TRANSPOSE_FUNCTION(name, EXTEND)                                                     \
    __attribute__((naked, noinline)) static void name(                                       \
        uint32_t *p __attribute__((unused)), const int8_t *x __attribute__((unused)),        \
        int32_t stride __attribute__((unused)), int32_t n __attribute__((unused))) {         \
        __asm__ volatile("push {r4-r11, lr}\n"                                               \
                         "lsr lr, r3, #2\n"                                                  \
                         "add r3, r3, #3\n"                                                  \
                         "bic r3, r3, #3\n"                                                  \
                         "mov r12, r1\n"                                                     \
                         "add r1, r0, r3, lsl #2\n"                                          \
                         "mov r3, r2\n"                                                      \
                         "mov r2, r12\n"                                                     \
                         "add r12, r3, r3, lsl #1\n"                                         \
                         "1:\n"                                                              \
                         "ldr r4, [r2]\n"                                                    \
                         "ldr r5, [r2, r3]\n"                                                \
                         "ldr r6, [r2, r3, lsl #1]\n"                                        \
                         "ldr r7, [r2, r12]\n"                                               \
                         "add r2, r2, r3, lsl #2\n"                                          \
                         "pkhbt r8, r4, r6, lsl #16\n"                                       \
                         "pkhbt r10, r5, r7, lsl #16\n"                                      \
                         "pkhtb r6, r6, r4, asr #16\n"                                       \
                         "pkhtb r7, r7, r5, asr #16\n" EXTEND " r9, r8, ror #8\n" EXTEND     \
                         " r8, r8\n" EXTEND " r11, r10, ror #8\n" EXTEND " r10, r10\n"       \
                         "stmia r0!, {r8, r9, r10, r11}\n" EXTEND " r5, r6, ror #8\n" EXTEND \
                         " r4, r6\n" EXTEND " r6, r7\n" EXTEND " r7, r7, ror #8\n"           \
                         "stmia r1!, {r4, r5, r6, r7}\n"                                     \
                         "subs lr, #1\n"                                                     \
                         "bne 1b\n"                                                          \
                         "pop {r4-r11, pc}\n");                                              \
    }

TRANSPOSE_FUNCTION(transpose_signed, "sxtb16")
TRANSPOSE_FUNCTION(transpose_unsigned, "uxtb16")

#endif
