#pragma GCC optimize("Os") /* the loops are assembly */

#include "round.h"
#include "tinytrain/tt_rows.h"

/* clang-format off */
#define PEAK_STEP(multiply, a)                 \
    multiply " " a ", " a ", " a "\n"          \
    "orr r12, r12, " a "\n"

/* The bits of all squares together, of 8 * turns accumulators, turns > 0: the upper or the lower
 * halves. */
#define PEAK_FUNCTION(name, multiply)                                                              \
    __attribute__((naked, noinline)) static uint32_t name(                                         \
        const int32_t *acc __attribute__((unused)), int32_t turns __attribute__((unused))) {       \
        __asm__ volatile("push {r4-r7}\n"                                                          \
                         "mov r12, #0\n"                                                           \
                         "1:\n"                                                                    \
                         ".rept 2\n"                                                               \
                         "ldmia r0!, {r4, r5, r6, r7}\n"                                           \
                         PEAK_STEP(multiply, "r4") PEAK_STEP(multiply, "r5")                       \
                         PEAK_STEP(multiply, "r6") PEAK_STEP(multiply, "r7")                       \
                         ".endr\n"                                                                 \
                         "subs r1, #1\n"                                                           \
                         "bne 1b\n"                                                                \
                         "mov r0, r12\n"                                                           \
                         "pop {r4-r7}\n"                                                           \
                         "bx lr\n");                                                               \
    }
/* clang-format on */

PEAK_FUNCTION(high_squares, "smmul")
PEAK_FUNCTION(low_squares, "mul")

/* A square has twice the bits of its root, or one less. */
int32_t tt_peak(const int32_t *acc, int32_t n) {
    const int32_t turns = n >> 3;
    uint32_t peak = 0;
    if (turns > 0) {
        const uint32_t high = high_squares(acc, turns);
        const int32_t bits =
            high != 0 ? 32 + tt_bit_length(high) : tt_bit_length(low_squares(acc, turns));
        peak = (1u << ((bits + 1) >> 1)) >> 1;
    }
    for (int32_t i = n & ~7; i < n; i++) {
        peak |= (uint32_t)tt_abs(acc[i]);
    }
    return (int32_t)peak;
}

#define WIDEN_LEFT(a) "mla " a ", " a ", r7, r8\n"
#define WIDEN_RIGHT(a) "asr " a ", " a ", r7\nadd " a ", " a ", r8\n"

ROUND_FUNCTION(round_left, WIDEN_LEFT)
ROUND_FUNCTION(round_right, WIDEN_RIGHT)

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
            round_left(out + i, acc + i, number, turns, 1 << (16 - shift));
        } else if (turns > 0) {
            round_right(out + i, acc + i, number, turns, shift - 16);
        }
        i += 4 * turns;
    }
    for (; i < n; i++) {
        out[i] = tt_stochastic_shift(acc[i], shift, key, first + (uint32_t)i);
    }
}
