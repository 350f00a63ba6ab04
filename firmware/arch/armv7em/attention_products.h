/* Assembly of attention_sums.c: products of panels, and panels of columns. */
#ifndef TT_ATTENTION_PRODUCTS_H
#define TT_ATTENTION_PRODUCTS_H

#include "attention_tiles.h"
#include "tile_steps.h"

/* The first group, then, from the middle of eight on, the others. A group takes 40 bytes of code. */
#define PRODUCT_FUNCTION(name, FINISH)                                                \
    __attribute__((naked, noinline, aligned(4))) void name(product_run *run           \
                                                           __attribute__((unused))) { \
        __asm__ volatile("push {r0, r4-r11, lr}\n"                                    \
                         "vldmia r0, {s0-s8}\n"                                       \
                         "ldr r0, [r0, #36]\n"                                        \
                         "vmov r1, s6\n"                                              \
                         "vmov r2, s3\n"                                              \
                         "sub r1, r1, r2\n"                                           \
                         "lsr r1, r1, #4\n"                                           \
                         "sub r1, r1, #1\n"                                           \
                         "and r1, r1, #7\n"                                           \
                         "mov r3, #40\n"                                              \
                         "mul r1, r1, r3\n"                                           \
                         "adr r3, 3f\n"                                               \
                         "sub r3, r3, r1\n"                                           \
                         "orr r3, r3, #1\n"                                           \
                         "vmov s9, r3\n"                                              \
                         "mov r1, r2\n"                                               \
                         "1:\n" TILE_PLAIN "vmov r6, s9\n"                            \
                         "bx r6\n"                                                    \
                         "2:\n"                                                       \
                         ".rept 8\n" TILE_PLAIN_STEP ".endr\n"                        \
                         "3:\n"                                                       \
                         "vmov r6, r7, s6, s7\n"                                      \
                         "cmp r1, r6\n"                                               \
                         "bne 2b\n" FINISH "cmp r0, r7\n"                             \
                         "bne 1b\n"                                                   \
                         "pop {r0}\n"                                                 \
                         "strd r11, r12, [r0, #16]\n"                                 \
                         "pop {r4-r11, pc}\n");                                       \
    }

#define NEXT_PAIR             \
    "vmov s4, s5, r11, r12\n" \
    "add r0, r0, r8\n"

PRODUCT_FUNCTION(tt_products, "vmov r8, r1, s2, s3\n"
                              "vmov r11, r12, s4, s5\n"
                              "strd r2, r3, [r11], #8\n"
                              "strd r4, r5, [r12], #8\n" NEXT_PAIR)

/* To int8: round-half-up(acc * mult * 2^-32 * 2^-shift) + 127 to uint8, then - 127 with saturation. */
#define MIX_SCALE(a)                \
    "smmla " a ", " a ", r10, r8\n" \
    "asr " a ", " a ", r9\n"        \
    "usat " a ", #8, " a "\n"

static void mix_products(product_run *run);

PRODUCT_FUNCTION(mix_products, "vmov r8, r9, s0, s1\n"
                               "vmov r10, s8\n" MIX_SCALE("r2") MIX_SCALE("r3") MIX_SCALE("r4")
                                   MIX_SCALE("r5") "orr r2, r2, r3, lsl #8\n"
                                                   "orr r4, r4, r5, lsl #8\n"
                                                   "orr r2, r2, r4, lsl #16\n"
                                                   "mov r4, #0x01010101\n"
                                                   "uqadd8 r2, r2, r4\n"
                                                   "eor r2, r2, #0x80808080\n"
                                                   "vmov r8, r1, s2, s3\n"
                                                   "vmov r11, r12, s4, s5\n"
                                                   "lsr r3, r2, #16\n"
                                                   "strh r2, [r11], #2\n"
                                                   "strh r3, [r12], #2\n" NEXT_PAIR)

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
