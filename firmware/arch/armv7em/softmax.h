/* Rows of scores and of their gradients, in pairs as tile_s32 leaves them: element j of row r is
 * word j / 2 * 4 + 2 * r + j % 2. Four columns a turn. */
#ifndef TT_SOFTMAX_H
#define TT_SOFTMAX_H

#include <stdint.h>

#include "tinytrain/tt_tables.h"

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

#define EXPONENTIAL(a)                  \
    "sub " a ", r1, " a "\n"            \
    "smmla " a ", " a ", r2, r3\n"      \
    "asr " a ", " a ", r4\n"            \
    "usat " a ", #8, " a "\n"           \
    "ldrh " a ", [r6, " a ", lsl #1]\n" \
    "add r7, r7, " a "\n"

/* One row: a = tt_exp16[min(255, ((top - a) * mult * 2^-32 + half) >> shift)]; gives the sum. */
__attribute__((naked, noinline, unused)) static uint32_t
tile_exponentials(int32_t *acc __attribute__((unused)), int32_t top __attribute__((unused)),
                  int32_t mult __attribute__((unused)), int32_t half __attribute__((unused)),
                  int32_t shift __attribute__((unused)), int32_t turns __attribute__((unused)),
                  const uint16_t *table __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldrd r4, r5, [sp, #36]\n"
                     "ldr r6, [sp, #44]\n"
                     "mov r7, #0\n"
                     "1:\n"
                     "ldrd r8, r9, [r0]\n"
                     "ldrd r10, r11, [r0, #16]\n" EXPONENTIAL("r8") EXPONENTIAL("r9")
                         EXPONENTIAL("r10") EXPONENTIAL("r11") "strd r8, r9, [r0], #16\n"
                                                               "strd r10, r11, [r0], #16\n"
                                                               "subs r5, #1\n"
                                                               "bne 1b\n"
                                                               "mov r0, r7\n"
                                                               "pop {r4-r11, pc}\n");
}

/* One row: exponentials times rec, + 2^23, upper bytes. p may have any address. */
__attribute__((naked, noinline, unused)) static void
tile_probabilities(uint8_t *p __attribute__((unused)), const int32_t *acc __attribute__((unused)),
                   uint32_t rec __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r8, lr}\n"
                     "mov r8, #0x800000\n"
                     "mov lr, #0x00FF00FF\n"
                     "1:\n"
                     "ldrd r4, r5, [r1], #16\n"
                     "ldrd r6, r7, [r1], #16\n"
                     "mla r4, r4, r2, r8\n"
                     "mla r5, r5, r2, r8\n"
                     "mla r6, r6, r2, r8\n"
                     "mla r7, r7, r2, r8\n"
                     "pkhtb r4, r6, r4, asr #16\n"
                     "pkhtb r5, r7, r5, asr #16\n"
                     "bic r5, r5, lr\n"
                     "uxtab16 r5, r5, r4, ror #8\n"
                     "str r5, [r0], #4\n"
                     "subs r3, #1\n"
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

#define FOUR_BYTES(word, a, b, c, d)  \
    "uxtb " a ", " word "\n"          \
    "uxtb " b ", " word ", ror #8\n"  \
    "uxtb " c ", " word ", ror #16\n" \
    "lsr " d ", " word ", #24\n"

/* sum_j p[j] * d[j] of one row. */
__attribute__((naked, noinline, unused)) static int32_t
tile_weighted(const int32_t *acc __attribute__((unused)), const uint8_t *p __attribute__((unused)),
              int32_t turns __attribute__((unused))) {
    __asm__ volatile(
        "push {r4-r11, lr}\n"
        "mov r3, #0\n"
        "1:\n"
        "ldrd r4, r5, [r0], #16\n"
        "ldrd r6, r7, [r0], #16\n"
        "ldr r12, [r1], #4\n" FOUR_BYTES("r12", "r8", "r9", "r10", "r11") "mla r3, r4, r8, r3\n"
                                                                          "mla r3, r5, r9, r3\n"
                                                                          "mla r3, r6, r10, r3\n"
                                                                          "mla r3, r7, r11, r3\n"
                                                                          "subs r2, #1\n"
                                                                          "bne 1b\n"
                                                                          "mov r0, r3\n"
                                                                          "pop {r4-r11, pc}\n");
}

/* d + (x >> 8) = (255 d - r + 128) >> 8 with x = 128 - r - d; then the bits of |p times that|. */
#define SCORE_GRADIENT(d, p)          \
    "sub lr, r2, " d "\n"             \
    "add " d ", " d ", lr, asr #8\n"  \
    "mul " d ", " d ", " p "\n"       \
    "eor lr, " d ", " d ", asr #31\n" \
    "orr r12, r12, lr\n"

/* One row of d becomes acc of tt_attention_ds_s8; constant: 128 - r. Gives a number with as many bits as
 * the largest |acc|, where -2^n counts as 2^n - 1. */
__attribute__((naked, noinline, unused)) static uint32_t
tile_score_gradients(int32_t *acc __attribute__((unused)), const uint8_t *p __attribute__((unused)),
                     int32_t constant __attribute__((unused)),
                     int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "mov r12, #0\n"
                     "1:\n"
                     "ldrd r4, r5, [r0]\n"
                     "ldrd r6, r7, [r0, #16]\n"
                     "ldr r11, [r1], #4\n" FOUR_BYTES("r11", "r8", "r9", "r10", "r11")
                         SCORE_GRADIENT("r4", "r8") SCORE_GRADIENT("r5", "r9")
                             SCORE_GRADIENT("r6", "r10")
                                 SCORE_GRADIENT("r7", "r11") "strd r4, r5, [r0], #16\n"
                                                             "strd r6, r7, [r0], #16\n"
                                                             "subs r3, #1\n"
                                                             "bne 1b\n"
                                                             "mov r0, r12\n"
                                                             "pop {r4-r11, pc}\n");
}

#endif
