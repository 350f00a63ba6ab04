/* Rounding of wide accumulators, four a turn. */
#ifndef TT_ROUND_H
#define TT_ROUND_H

#include "tinytrain/tt_math.h"

/* clang-format off */

/* r10 = tt_mix(r2); the next r2. */
#define ROUND_MIX                              \
    "eor r10, r2, r2, lsr #16\n"               \
    "mul r10, r10, r5\n"                       \
    "eor r10, r10, r10, lsr #15\n"             \
    "mul r10, r10, r6\n"                       \
    "add r2, r2, r4\n"                         \
    "eor r10, r10, r10, lsr #16\n"

/* Four accumulators: WIDEN(a) makes a the value in units of 2^-16, + 127, by r7 and r8 = 127 * 2^16.
 * With 16 random bits added, the upper half is the rounded value + 127, which goes to eight bits
 * and, less 127, to +-127 by two saturations. */
#define ROUND_STEP(WIDEN)                      \
    ROUND_MIX                                  \
    "ldrd r11, r12, [r1], #16\n"               \
    WIDEN("r11")                               \
    WIDEN("r12")                               \
    "uxtah r11, r11, r10\n"                    \
    "add r12, r12, r10, lsr #16\n"             \
    ROUND_MIX                                  \
    "ldr lr, [r1, #-4]\n"                      \
    WIDEN("lr")                                \
    "add lr, lr, r10, lsr #16\n"               \
    "pkhtb r12, lr, r12, asr #16\n"            \
    "ldr lr, [r1, #-8]\n"                      \
    WIDEN("lr")                                \
    "uxtah lr, lr, r10\n"                      \
    "pkhtb r11, lr, r11, asr #16\n"            \
    "usat16 r12, #8, r12\n"                    \
    "usat16 r11, #8, r11\n"                    \
    "orr r11, r11, r12, lsl #8\n"              \
    "uqadd8 r11, r11, r9\n"                    \
    "eor r11, r11, #0x80808080\n"              \
    "str r11, [r0], #4\n"

/* 4 * turns accumulators, turns > 0; number: what the first pair's tt_mix is of; by: r7. */
#define ROUND_FUNCTION(name, WIDEN)                                                     \
    __attribute__((naked, noinline)) static void name(                                  \
        int8_t *out __attribute__((unused)), const int32_t *acc __attribute__((unused)), \
        uint32_t number __attribute__((unused)), int32_t turns __attribute__((unused)), \
        int32_t by __attribute__((unused))) {                                           \
        __asm__ volatile("push {r4-r11, lr}\n"                                          \
                         "ldr r7, [sp, #36]\n"                                          \
                         "movw r4, #0x79B9\n"                                           \
                         "movt r4, #0x9E37\n"                                           \
                         "movw r5, #0x352D\n"                                           \
                         "movt r5, #0x7FEB\n"                                           \
                         "movw r6, #0xA68B\n"                                           \
                         "movt r6, #0x846C\n"                                           \
                         "mov r8, #0x7F0000\n"                                          \
                         "mov r9, #0x01010101\n"                                        \
                         "lsrs r3, #1\n"                                                \
                         "bcc 2f\n"                                                     \
                         ROUND_STEP(WIDEN)                                              \
                         "cmp r3, #0\n"                                                 \
                         "beq 3f\n"                                                     \
                         "2:\n"                                                         \
                         ROUND_STEP(WIDEN)                                              \
                         ROUND_STEP(WIDEN)                                              \
                         "subs r3, #1\n"                                                \
                         "bne 2b\n"                                                     \
                         "3:\n"                                                         \
                         "pop {r4-r11, pc}\n");                                         \
    }

/* clang-format on */

#endif
