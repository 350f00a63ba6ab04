/* Rows of scores and of their gradients, four columns a turn, two turns a round; turns > 0. */
#ifndef TT_SOFTMAX_H
#define TT_SOFTMAX_H

#include "round.h"

/* clang-format off */

#define LARGEST(a, label)                      \
    "cmp " a ", r0\n"                          \
    "bgt 1" label "f\n"                        \
    "2" label ":\n"
#define LARGER(a, label)                       \
    "1" label ": mov r0, " a "\n"              \
    "b 2" label "b\n"

/* Largest of 4 * turns scores. */
__attribute__((naked, noinline, unused)) static int32_t
largest_score(const int32_t *row __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r6}\n"
                     "mov r2, r0\n"
                     "ldr r0, [r0]\n"
                     "1:\n"
                     "ldmia r2!, {r3, r4, r5, r6}\n"
                     LARGEST("r3", "0") LARGEST("r4", "1") LARGEST("r5", "2") LARGEST("r6", "3")
                     "subs r1, #1\n"
                     "bne 1b\n"
                     "pop {r4-r6}\n"
                     "bx lr\n"
                     LARGER("r3", "0") LARGER("r4", "1") LARGER("r5", "2") LARGER("r6", "3"));
}

#define EXPONENTIAL(a)                         \
    "sub " a ", r1, " a "\n"                   \
    "smmla " a ", " a ", r2, r3\n"             \
    "asr " a ", " a ", r4\n"                   \
    "usat " a ", #8, " a "\n"                  \
    "ldrh " a ", [r5, " a ", lsl #1]\n"        \
    "add r7, r7, " a "\n"
#define EXPONENTIALS                           \
    "ldmia r0, {r8, r9, r10, r11}\n"           \
    EXPONENTIAL("r8") EXPONENTIAL("r9") EXPONENTIAL("r10") EXPONENTIAL("r11") \
    "stmia r0!, {r8, r9, r10, r11}\n"

/* a = table[min(255, ((top - a) * mult * 2^-32 + half) >> shift)]; gives the sum. */
__attribute__((naked, noinline, unused)) static uint32_t
exponentials_of(int32_t *row __attribute__((unused)), int32_t top __attribute__((unused)),
                int32_t mult __attribute__((unused)), int32_t half __attribute__((unused)),
                int32_t shift __attribute__((unused)), const uint16_t *table __attribute__((unused)),
                int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11}\n"
                     "add r4, sp, #32\n"
                     "ldmia r4, {r4, r5, r6}\n"
                     "mov r7, #0\n"
                     "1:\n" EXPONENTIALS
                     "subs r6, #1\n"
                     "bne 1b\n"
                     "mov r0, r7\n"
                     "pop {r4-r11}\n"
                     "bx lr\n");
}

#define PROBABILITIES                          \
    "ldmia r1!, {r4, r5, r6, r7}\n"            \
    "mla r4, r4, r2, r8\n"                     \
    "mla r5, r5, r2, r8\n"                     \
    "mla r6, r6, r2, r8\n"                     \
    "mla r7, r7, r2, r8\n"                     \
    "pkhtb r4, r6, r4, asr #16\n"              \
    "pkhtb r5, r7, r5, asr #16\n"              \
    "bic r5, r5, r9\n"                         \
    "uxtab16 r5, r5, r4, ror #8\n"             \
    "str r5, [r0], #4\n"

/* Exponentials times rec, + 2^23, upper bytes. p may have any address. */
__attribute__((naked, noinline, unused)) static void
probabilities_of(uint8_t *p __attribute__((unused)), const int32_t *row __attribute__((unused)),
                 uint32_t rec __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r9}\n"
                     "mov r8, #0x800000\n"
                     "mov r9, #0x00FF00FF\n"
                     "1:\n" PROBABILITIES
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "pop {r4-r9}\n"
                     "bx lr\n");
}

/* The same of two rows, as a panel in the place of the first. */
__attribute__((naked, noinline, unused)) static void
probability_panel(int32_t *row0 __attribute__((unused)), const int32_t *row1 __attribute__((unused)),
                  uint32_t rec0 __attribute__((unused)), uint32_t rec1 __attribute__((unused)),
                  int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldr lr, [sp, #36]\n"
                     "mov r12, #0x800000\n"
                     "1:\n"
                     "ldmia r0, {r4, r5, r6, r7}\n"
                     "ldmia r1!, {r8, r9, r10, r11}\n"
                     "mla r4, r4, r2, r12\n"
                     "mla r5, r5, r2, r12\n"
                     "mla r6, r6, r2, r12\n"
                     "mla r7, r7, r2, r12\n"
                     "mla r8, r8, r3, r12\n"
                     "mla r9, r9, r3, r12\n"
                     "mla r10, r10, r3, r12\n"
                     "mla r11, r11, r3, r12\n"
                     "pkhtb r4, r6, r4, asr #16\n"
                     "pkhtb r6, r7, r5, asr #16\n"
                     "pkhtb r5, r10, r8, asr #16\n"
                     "pkhtb r7, r11, r9, asr #16\n"
                     "uxtb16 r4, r4, ror #8\n"
                     "uxtb16 r5, r5, ror #8\n"
                     "uxtb16 r6, r6, ror #8\n"
                     "uxtb16 r7, r7, ror #8\n"
                     "stmia r0!, {r4, r5, r6, r7}\n"
                     "subs lr, #1\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}

#define WEIGHTED                               \
    "ldmia r12!, {r4, r5, r6, r7}\n"           \
    "ldr r8, [r9], #4\n"                       \
    "uxtb r10, r8\n"                           \
    "mla r11, r4, r10, r11\n"                  \
    "uxtb r10, r8, ror #8\n"                   \
    "mla r11, r5, r10, r11\n"                  \
    "uxtb r10, r8, ror #16\n"                  \
    "mla r11, r6, r10, r11\n"                  \
    "lsr r10, r8, #24\n"                       \
    "mla r11, r7, r10, r11\n"

/* d + (x >> 8) = (255 d - r + 128) >> 8 with x = 128 - r - d; p times that. */
#define SCORE_GRADIENT(d, BYTE)                \
    "sub r10, r11, " d "\n"                    \
    "add " d ", " d ", r10, asr #8\n"          \
    BYTE                                       \
    "mul " d ", " d ", r10\n"
/* Of upper halves x: x ^ 2x has one bit more than x or ~x, unless that is 0; the lowest one, where a bit
 * of the other half arrives, does not count. */
#define PAIR_PEAK(a, b)                        \
    "pkhtb r10, " a ", " b ", asr #16\n"       \
    "eor r10, r10, r10, lsl #1\n"              \
    "orr r12, r12, r10\n"
#define SCORE_GRADIENTS                        \
    "ldmia r0, {r4, r5, r6, r7}\n"             \
    "ldr r8, [r1], #4\n"                       \
    SCORE_GRADIENT("r4", "uxtb r10, r8\n")     \
    SCORE_GRADIENT("r5", "uxtb r10, r8, ror #8\n") \
    PAIR_PEAK("r4", "r5")                      \
    SCORE_GRADIENT("r6", "uxtb r10, r8, ror #16\n") \
    SCORE_GRADIENT("r7", "lsr r10, r8, #24\n") \
    PAIR_PEAK("r6", "r7")                      \
    "stmia r0!, {r4, r5, r6, r7}\n"

/* Products d become acc of tt_attention_ds_s8; p at any address. Gives r in the lower half; in the
 * upper the bits of the largest |acc|, where -2^n counts as 2^n - 1, or 0 if these are 16 or fewer. */
__attribute__((naked, noinline, unused)) static uint64_t
score_gradients_of(int32_t *row __attribute__((unused)), const uint8_t *p __attribute__((unused)),
                   int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11}\n"
                     "mov r12, r0\n"
                     "mov r9, r1\n"
                     "mov r3, r2\n"
                     "mov r11, #0\n"
                     ROUNDS("r3")
                     "1:\n" WEIGHTED
                     "2:\n" WEIGHTED
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "mov r9, r11\n"
                     "rsb r11, r11, #128\n"
                     "mov r12, #0\n"
                     "1:\n" SCORE_GRADIENTS
                     "subs r2, #1\n"
                     "bne 1b\n"
                     "mov r0, r9\n"
                     "orr r1, r12, r12, lsr #16\n"
                     "ubfx r1, r1, #1, #15\n"
                     "clz r1, r1\n"
                     "rsb r1, r1, #48\n"
                     "cmp r1, #16\n"
                     "it eq\n"
                     "moveq r1, #0\n"
                     "pop {r4-r11}\n"
                     "bx lr\n");
}

/* clang-format on */

#endif
