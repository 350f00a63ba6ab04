/* Rounding of values below 2^15: two in a register, four a turn. The first register of four holds
 * values 0 and 2, the second 1 and 3, lower half first. */
#ifndef TT_LANES_H
#define TT_LANES_H

#include "tinytrain/tt_math.h"

/* clang-format off */

/* a = tt_mix(r2) but for its last step; the next r2. */
#define LANES_MIX(a)                           \
    "eor " a ", r2, r2, lsr #16\n"             \
    "mul " a ", " a ", r5\n"                   \
    "eor " a ", " a ", " a ", lsr #15\n"       \
    "mul " a ", " a ", r6\n"                   \
    "add r2, r2, r4\n"

/* A half holds value * 2^up, up = 8 - shift; with eight random bits added, of which the lower `up`
 * count nothing, its upper byte is the rounded value, saturated; less 1 and more 1 it is not -128.
 * What the shift left by `up` brings into a half from the other stays below those bits. */
#define LANES_STEP(LOAD)                       \
    LANES_MIX("r10")                           \
    LANES_MIX("r11")                           \
    "pkhtb r12, r11, r10, asr #16\n"           \
    "pkhbt r10, r10, r11, lsl #16\n"           \
    "eor r10, r10, r12\n"                      \
    "and r10, r8, r10, lsr #8\n"               \
    "and r12, r8, r12, lsr #8\n"               \
    LOAD                                       \
    "lsl r11, r11, r7\n"                       \
    "lsl lr, lr, r7\n"                         \
    "qadd16 r11, r11, r10\n"                   \
    "qadd16 lr, lr, r12\n"                     \
    "lsr r11, r11, #8\n"                       \
    "sel r11, lr, r11\n"                       \
    "qsub8 r11, r11, r9\n"                     \
    "qadd8 r11, r11, r9\n"                     \
    "str r11, [r0], #4\n"

/* 4 * turns values, turns > 0, |value| < 2^(7 + shift), shift <= 8; number: what the first pair's
 * tt_mix is of. LOAD reads the registers r11 and lr from [r1] and, before it is written, [r0]. */
#define LANES_FUNCTION(name, LOAD)                                                      \
    __attribute__((naked, noinline, aligned(4))) static void name(                      \
        int8_t *out __attribute__((unused)), const void *from __attribute__((unused)),  \
        uint32_t number __attribute__((unused)), int32_t turns __attribute__((unused)), \
        int32_t up __attribute__((unused))) {                                           \
        __asm__ volatile("push {r4-r11, lr}\n"                                          \
                         "ldr r7, [sp, #36]\n"                                          \
                         "adr r4, 3f\n"                                                 \
                         "ldmia r4, {r4, r5, r6, r9, r10}\n"                            \
                         "msr APSR_g, r10\n" /* sel takes bytes 1 and 3 of its first */ \
                         "mvn r8, #0\n"                                                 \
                         "lsl r8, r8, r7\n"                                             \
                         "uxtb r8, r8\n"                                                \
                         "orr r8, r8, r8, lsl #16\n"                                    \
                         "1:\n"                                                         \
                         LANES_STEP(LOAD)                                               \
                         "subs r3, #1\n"                                                \
                         "bne 1b\n"                                                     \
                         "pop {r4-r11, pc}\n"                                           \
                         ".p2align 2\n"                                                 \
                         "3:\n"                                                         \
                         ".word 0x9E3779B9, 0x7FEB352D, 0x846CA68B, 0x01010101, 0xA0000\n"); \
    }

/* clang-format on */

#endif
