#pragma GCC optimize("Os") /* the loops are assembly */

/* Rounding of wide accumulators, four a turn. */
#include "round.h"
#include "tinytrain/tt_rows.h"

/* clang-format off */

/* r10 = tt_mix(r2); the next r2. */
#define ROUND_MIX                              \
    "eor r10, r2, r2, lsr #16\n"               \
    "mul r10, r10, r5\n"                       \
    "eor r10, r10, r10, lsr #15\n"             \
    "mul r10, r10, r6\n"                       \
    "add r2, r2, r4\n"                         \
    "eor r10, r10, r10, lsr #16\n"

/* WIDEN makes an accumulator, by r7 and r8 = 127 * 2^16, the value in units of 2^-16, + 127. With 16
 * random bits added, the upper half is the rounded value + 127, which goes to eight bits and, less 127,
 * to +-127 by two saturations. */
#define ROUND_WIDEN(WIDEN, a) WIDEN " " a ", " a ", r7, r8\n"
#define ROUND_STEP(WIDEN)                      \
    ROUND_MIX                                  \
    "ldrd r11, r12, [r1], #16\n"               \
    ROUND_WIDEN(WIDEN, "r11")                  \
    ROUND_WIDEN(WIDEN, "r12")                  \
    "uxtah r11, r11, r10\n"                    \
    "add r12, r12, r10, lsr #16\n"             \
    ROUND_MIX                                  \
    "ldr lr, [r1, #-4]\n"                      \
    ROUND_WIDEN(WIDEN, "lr")                   \
    "add lr, lr, r10, lsr #16\n"               \
    "pkhtb r12, lr, r12, asr #16\n"            \
    "ldr lr, [r1, #-8]\n"                      \
    ROUND_WIDEN(WIDEN, "lr")                   \
    "uxtah lr, lr, r10\n"                      \
    "pkhtb r11, lr, r11, asr #16\n"            \
    "usat16 r12, #8, r12\n"                    \
    "usat16 r11, #8, r11\n"                    \
    "orr r11, r11, r12, lsl #8\n"              \
    "uqadd8 r11, r11, r9\n"                    \
    "eor r11, r11, #0x80808080\n"              \
    "str r11, [r0], #4\n"

#define ROUND_FUNCTION(name, LOOP)                                                      \
    __attribute__((naked, noinline, aligned(4))) void name(                             \
        int8_t *out __attribute__((unused)), const int32_t *acc __attribute__((unused)), \
        uint32_t number __attribute__((unused)), int32_t turns __attribute__((unused)), \
        int32_t by __attribute__((unused))) {                                           \
        __asm__ volatile("push {r4-r11, lr}\n"                                          \
                         "ldr r7, [sp, #36]\n"                                          \
                         "adr r4, 3f\n"                                                 \
                         "ldmia r4, {r4, r5, r6, r8, r9}\n"                             \
                         LOOP                                                           \
                         "subs r3, #1\n"                                                \
                         "bne 1b\n"                                                     \
                         "pop {r4-r11, pc}\n"                                           \
                         ".p2align 2\n"                                                 \
                         "3:\n"                                                         \
                         ".word 0x9E3779B9, 0x7FEB352D, 0x846CA68B, 0x7F0000, 0x01010101\n"); \
    }

/* by: 2^(16 - shift). */
static ROUND_FUNCTION(round_left, ROUNDS("r3") "1:\n" ROUND_STEP("mla") "2:\n" ROUND_STEP("mla"))
ROUND_FUNCTION(tt_round_products, "1:\n" ROUND_STEP("smmls"))

#define LARGEST(a)                             \
    "eor r3, " a ", " a ", asr #31\n"          \
    "sub r3, r3, " a ", asr #31\n"             \
    "orr r2, r2, r3\n"

/* The bits of 4 * turns magnitudes, turns > 0. */
__attribute__((naked, noinline)) static int32_t
magnitudes(const int32_t *acc __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r7}\n"
                     "mov r2, #0\n"
                     "1:\n"
                     "ldmia r0!, {r4, r5, r6, r7}\n"
                     LARGEST("r4") LARGEST("r5") LARGEST("r6") LARGEST("r7")
                     "subs r1, #1\n"
                     "bne 1b\n"
                     "mov r0, r2\n"
                     "pop {r4-r7}\n"
                     "bx lr\n");
}
/* clang-format on */

int32_t tt_peak(const int32_t *acc, int32_t n) {
    int32_t peak = n >= 4 ? magnitudes(acc, n >> 2) : 0;
    for (int32_t i = n & ~3; i < n; i++) {
        peak |= tt_abs(acc[i]);
    }
    return peak;
}

void tt_round_fours(int8_t *out, const int32_t *acc, uint32_t number, int32_t turns,
                    int32_t shift) {
    if (shift <= 16) {
        round_left(out, acc, number, turns, 1 << (16 - shift));
    } else {
        tt_round_products(out, acc, number, turns, (int32_t)(0u - (1u << (48 - shift))));
    }
}

void tt_round_row(int8_t *out, const int32_t *acc, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first) {
    int32_t i = 0;
    if (shift != 0 && shift <= 30) {
        if ((first & 1u) != 0 && n > 0) {
            out[0] = tt_stochastic_shift(acc[0], shift, key, first);
            i = 1;
        }
        const uint32_t number = key + ((first + 1u) >> 1) * TT_GOLDEN;
        const int32_t turns = (n - i) >> 2;
        if (turns > 0) {
            tt_round_fours(out + i, acc + i, number, turns, shift);
        }
        i += 4 * turns;
    }
    for (; i < n; i++) {
        out[i] = tt_stochastic_shift(acc[i], shift, key, first + (uint32_t)i);
    }
}
