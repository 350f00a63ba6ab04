#include "tinytrain/tt_rows.h"

#define PEAK_STEP(a)                  \
    "add r3, " a ", " a ", asr #31\n" \
    "eor r3, r3, r3, asr #31\n"       \
    "orr r12, r12, r3\n"

/* tt_peak of 8 * turns accumulators, turns > 0. */
__attribute__((naked, noinline)) static int32_t peak_of(const int32_t *acc __attribute__((unused)),
                                                        int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r7}\n"
                     "mov r12, #0\n"
                     "1:\n"
                     ".rept 2\n"
                     "ldmia r0!, {r4, r5, r6, r7}\n" PEAK_STEP("r4") PEAK_STEP("r5") PEAK_STEP("r6")
                         PEAK_STEP("r7") ".endr\n"
                                         "subs r1, #1\n"
                                         "bne 1b\n"
                                         "mov r0, r12\n"
                                         "pop {r4-r7}\n"
                                         "bx lr\n");
}

int32_t tt_peak(const int32_t *acc, int32_t n) {
    const int32_t turns = n >> 3;
    uint32_t peak = turns > 0 ? (uint32_t)peak_of(acc, turns) : 0;
    for (int32_t i = n & ~7; i < n; i++) {
        peak |= (uint32_t)tt_abs(acc[i]);
    }
    return (int32_t)peak;
}

/* r2: what tt_mix is to be made of; r10 = tt_mix(r2); the next r2. */
#define MIX                        \
    "eor r10, r2, r2, lsr #16\n"   \
    "mul r10, r10, r5\n"           \
    "eor r10, r10, r10, lsr #15\n" \
    "mul r10, r10, r6\n"           \
    "add r2, r2, r4\n"             \
    "eor r10, r10, r10, lsr #16\n"

/* a: acc * 2^(16 - shift) + 127 * 2^16, r7 = 2^(16 - shift) or shift - 16. */
#define WIDEN_UP(a) "mla " a ", " a ", r7, r8\n"
#define WIDEN_DOWN(a)        \
    "asr " a ", " a ", r7\n" \
    "add " a ", " a ", r8\n"

/* Four accumulators: with 16 random bits added, the upper half is the rounded value + 127, which
 * goes to eight bits and, less 127, to +-127 by two saturations. */
#define ROUND_STEP(WIDEN)                                                                        \
    MIX "ldrd r11, r12, [r1], #16\n" WIDEN("r11")                                                \
        WIDEN("r12") "uxtah r11, r11, r10\n"                                                     \
                     "add r12, r12, r10, lsr #16\n" MIX "ldr lr, [r1, #-4]\n" WIDEN(             \
                         "lr") "add lr, lr, r10, lsr #16\n"                                      \
                               "pkhtb r12, lr, r12, asr #16\n"                                   \
                               "ldr lr, [r1, #-8]\n" WIDEN("lr") "uxtah lr, lr, r10\n"           \
                                                                 "pkhtb r11, lr, r11, asr #16\n" \
                                                                 "usat16 r12, #8, r12\n"         \
                                                                 "usat16 r11, #8, r11\n"         \
                                                                 "orr r11, r11, r12, lsl #8\n"   \
                                                                 "uqadd8 r11, r11, r9\n"         \
                                                                 "eor r11, r11, #0x80808080\n"   \
                                                                 "str r11, [r0], #4\n"

/* 4 * turns elements; number: of the first pair. */
#define ROUND_FUNCTION(name, WIDEN)                                                                \
    __attribute__((naked, noinline)) static void name(                                             \
        int8_t *out __attribute__((unused)), const int32_t *acc __attribute__((unused)),           \
        uint32_t number __attribute__((unused)), int32_t turns __attribute__((unused)),            \
        int32_t by __attribute__((unused))) {                                                      \
        __asm__ volatile("push {r4-r11, lr}\n"                                                     \
                         "ldr r7, [sp, #36]\n"                                                     \
                         "movw r4, #0x79B9\n"                                                      \
                         "movt r4, #0x9E37\n"                                                      \
                         "movw r5, #0x352D\n"                                                      \
                         "movt r5, #0x7FEB\n"                                                      \
                         "movw r6, #0xA68B\n"                                                      \
                         "movt r6, #0x846C\n"                                                      \
                         "mov r8, #0x7F0000\n"                                                     \
                         "mov r9, #0x01010101\n"                                                   \
                         "lsrs r3, #1\n"                                                           \
                         "bcc 2f\n" ROUND_STEP(WIDEN) "cmp r3, #0\n"                               \
                                                      "beq 3f\n"                                   \
                                                      "2:\n" ROUND_STEP(WIDEN)                     \
                                                          ROUND_STEP(WIDEN) "subs r3, #1\n"        \
                                                                            "bne 2b\n"             \
                                                                            "3:\n"                 \
                                                                            "pop {r4-r11, pc}\n"); \
    }

ROUND_FUNCTION(round_up, WIDEN_UP)
ROUND_FUNCTION(round_down, WIDEN_DOWN)

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
        if (turns > 0 && shift <= 16) {
            round_up(out + i, acc + i, number, turns, 1 << (16 - shift));
        } else if (turns > 0) {
            round_down(out + i, acc + i, number, turns, shift - 16);
        }
        i += 4 * turns;
    }
    for (; i < n; i++) {
        out[i] = tt_stochastic_shift(acc[i], shift, key, first + (uint32_t)i);
    }
}
