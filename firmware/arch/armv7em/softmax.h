/* Two rows of scores, or of their gradients, as pair products leave them: element j of row r is word
 * j / 2 * 4 + 2 * r + j % 2. */
#ifndef TT_SOFTMAX_H
#define TT_SOFTMAX_H

#include <stdint.h>

static inline int32_t tile_word(int32_t j) {
    return j / 2 * 4 + j % 2;
}

/* Largest of 4 * turns elements of row 0 (lower half) and row 1. */
__attribute__((naked, noinline, unused)) static uint64_t
tile_tops(const int32_t *acc __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "mov r2, r0\n"
                     "mov r3, r1\n"
                     "mov r0, #0x80000000\n"
                     "mov r1, r0\n"
                     "1:\n"
                     "ldmia r2!, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "cmp r4, r0\n"
                     "bgt 14f\n"
                     "24: cmp r5, r0\n"
                     "bgt 15f\n"
                     "25: cmp r6, r1\n"
                     "bgt 16f\n"
                     "26: cmp r7, r1\n"
                     "bgt 17f\n"
                     "27: cmp r8, r0\n"
                     "bgt 18f\n"
                     "28: cmp r9, r0\n"
                     "bgt 19f\n"
                     "29: cmp r10, r1\n"
                     "bgt 20f\n"
                     "30: cmp r11, r1\n"
                     "bgt 21f\n"
                     "31: subs r3, #1\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n"
                     "14: mov r0, r4\n"
                     "b 24b\n"
                     "15: mov r0, r5\n"
                     "b 25b\n"
                     "16: mov r1, r6\n"
                     "b 26b\n"
                     "17: mov r1, r7\n"
                     "b 27b\n"
                     "18: mov r0, r8\n"
                     "b 28b\n"
                     "19: mov r0, r9\n"
                     "b 29b\n"
                     "20: mov r1, r10\n"
                     "b 30b\n"
                     "21: mov r1, r11\n"
                     "b 31b\n");
}

#define EXPONENTIAL(a, top, sum)        \
    "sub " a ", " top ", " a "\n"       \
    "smmla " a ", " a ", r3, r4\n"      \
    "asr " a ", " a ", r5\n"            \
    "usat " a ", #8, " a "\n"           \
    "ldrh " a ", [r6, " a ", lsl #1]\n" \
    "add " sum ", " sum ", " a "\n"
#define EXPONENTIALS                                                                               \
    "ldmia r0, {r9, r10, r11, r12}\n" EXPONENTIAL("r9", "r1", "r8") EXPONENTIAL("r10", "r1", "r8") \
        EXPONENTIAL("r11", "r2", "lr")                                                             \
            EXPONENTIAL("r12", "r2", "lr") "stmia r0!, {r9, r10, r11, r12}\n"

/* a = table[min(255, ((top - a) * mult * 2^-32 + half) >> shift)], 4 * turns columns; gives the sums of
 * row 0 (lower half) and row 1. */
__attribute__((naked, noinline, unused)) static uint64_t
tile_exponentials(int32_t *acc __attribute__((unused)), int32_t top0 __attribute__((unused)),
                  int32_t top1 __attribute__((unused)), int32_t mult __attribute__((unused)),
                  int32_t half __attribute__((unused)), int32_t shift __attribute__((unused)),
                  const uint16_t *table __attribute__((unused)),
                  int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "add r4, sp, #36\n"
                     "ldmia r4, {r4, r5, r6, r7}\n"
                     "mov r8, #0\n"
                     "mov lr, #0\n"
                     "1:\n" EXPONENTIALS EXPONENTIALS "subs r7, #1\n"
                     "bne 1b\n"
                     "mov r0, r8\n"
                     "mov r1, lr\n"
                     "pop {r4-r11, pc}\n");
}

#define PROBABILITIES              \
    "ldrd r4, r5, [r1], #16\n"     \
    "ldrd r6, r7, [r1], #16\n"     \
    "mla r4, r4, r2, r8\n"         \
    "mla r5, r5, r2, r8\n"         \
    "mla r6, r6, r2, r8\n"         \
    "mla r7, r7, r2, r8\n"         \
    "pkhtb r4, r6, r4, asr #16\n"  \
    "pkhtb r5, r7, r5, asr #16\n"  \
    "bic r5, r5, lr\n"             \
    "uxtab16 r5, r5, r4, ror #8\n" \
    "str r5, [r0], #4\n"

/* One row: exponentials times rec, + 2^23, upper bytes; 4 * turns columns. p may have any address. */
__attribute__((naked, noinline, unused)) static void
tile_probabilities(uint8_t *p __attribute__((unused)), const int32_t *acc __attribute__((unused)),
                   uint32_t rec __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r8, lr}\n"
                     "mov r8, #0x800000\n"
                     "mov lr, #0x00FF00FF\n"
                     "add r3, r3, #1\n"
                     "lsrs r3, r3, #1\n"
                     "bcc 2f\n"
                     "1:\n" PROBABILITIES "2:\n" PROBABILITIES "subs r3, #1\n"
                     "bne 1b\n"
                     "pop {r4-r8, pc}\n");
}

/* Both rows, in place: exponentials become a panel of probabilities. */
__attribute__((naked, noinline, unused)) static void
tile_probability_panel(int32_t *acc __attribute__((unused)), uint32_t rec0 __attribute__((unused)),
                       uint32_t rec1 __attribute__((unused)),
                       int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "mov r12, #0x800000\n"
                     "mov lr, r0\n"
                     "1:\n"
                     "ldmia lr!, {r4, r5, r6, r7, r8, r9, r10, r11}\n"
                     "mla r4, r4, r1, r12\n"
                     "mla r5, r5, r1, r12\n"
                     "mla r6, r6, r2, r12\n"
                     "mla r7, r7, r2, r12\n"
                     "mla r8, r8, r1, r12\n"
                     "mla r9, r9, r1, r12\n"
                     "mla r10, r10, r2, r12\n"
                     "mla r11, r11, r2, r12\n"
                     "pkhtb r4, r8, r4, asr #16\n"
                     "pkhtb r8, r10, r6, asr #16\n"
                     "pkhtb r6, r9, r5, asr #16\n"
                     "pkhtb r7, r11, r7, asr #16\n"
                     "uxtb16 r4, r4, ror #8\n"
                     "uxtb16 r5, r8, ror #8\n"
                     "uxtb16 r6, r6, ror #8\n"
                     "uxtb16 r7, r7, ror #8\n"
                     "stmia r0!, {r4, r5, r6, r7}\n"
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}

#define WEIGHTED                     \
    "ldmia r12!, {r6, r7, r8, r9}\n" \
    "ldrh r10, [r1], #2\n"           \
    "uxtb r11, r10\n"                \
    "lsr r10, r10, #8\n"             \
    "mla r4, r6, r11, r4\n"          \
    "mla r4, r7, r10, r4\n"          \
    "ldrh r10, [r2], #2\n"           \
    "uxtb r11, r10\n"                \
    "lsr r10, r10, #8\n"             \
    "mla r5, r8, r11, r5\n"          \
    "mla r5, r9, r10, r5\n"

/* d + (x >> 8) = (255 d - r + 128) >> 8 with x = 128 - r - d; p times that, and its bits. */
#define SCORE_GRADIENT(d, constant, peak, byte)                      \
    "sub r11, " constant ", " d "\n"                                 \
    "add " d ", " d ", r11, asr #8\n" byte "mul " d ", " d ", r11\n" \
    "eor r11, " d ", " d ", asr #31\n"                               \
    "orr " peak ", " peak ", r11\n"
#define LOW_BYTE "uxtb r11, r10\n"
#define HIGH_BYTE "lsr r11, r10, #8\n"
#define SCORE_GRADIENTS                                                                     \
    "ldmia r0, {r6, r7, r8, r9}\n"                                                          \
    "ldrh r10, [r1], #2\n" SCORE_GRADIENT("r6", "r4", "r12", LOW_BYTE)                      \
        SCORE_GRADIENT("r7", "r4", "r12", HIGH_BYTE) "ldrh r10, [r2], #2\n" SCORE_GRADIENT( \
            "r8", "r5", "lr", LOW_BYTE)                                                     \
            SCORE_GRADIENT("r9", "r5", "lr", HIGH_BYTE) "stmia r0!, {r6, r7, r8, r9}\n"

/* Both rows of d become acc of tt_attention_ds_s8, 4 * turns columns; p0 and p1 at any address. r: of
 * both. Gives numbers with as many bits as the largest |acc| of row 0 (lower half) and row 1, where
 * -2^n counts as 2^n - 1. */
__attribute__((naked, noinline, unused)) static uint64_t
tile_score_gradients(int32_t *acc __attribute__((unused)),
                     const uint8_t *p0 __attribute__((unused)),
                     const uint8_t *p1 __attribute__((unused)),
                     int32_t turns __attribute__((unused)), int32_t r[2] __attribute__((unused))) {
    __asm__ volatile("push {r1-r11, lr}\n"
                     "mov r12, r0\n"
                     "mov r4, #0\n"
                     "mov r5, #0\n"
                     "1:\n" WEIGHTED WEIGHTED "subs r3, #1\n"
                     "bne 1b\n"
                     "ldr r1, [sp, #48]\n"
                     "strd r4, r5, [r1]\n"
                     "ldmia sp, {r1, r2, r3}\n"
                     "rsb r4, r4, #128\n"
                     "rsb r5, r5, #128\n"
                     "mov r12, #0\n"
                     "mov lr, #0\n"
                     "1:\n" SCORE_GRADIENTS SCORE_GRADIENTS "subs r3, #1\n"
                     "bne 1b\n"
                     "mov r0, r12\n"
                     "mov r1, lr\n"
                     "add sp, sp, #12\n"
                     "pop {r4-r11, pc}\n");
}

#endif
