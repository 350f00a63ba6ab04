#pragma GCC optimize("Os") /* the loop is assembly */

#include "round.h"
#include "tinytrain/tt_rows.h"

/* clang-format off */
#define ROUGH_PEAK(a)                          \
    "eor " a ", " a ", " a ", asr #31\n"       \
    "orr r12, r12, " a "\n"
#define ROUGH_PEAKS                            \
    "ldmia r0!, {r2, r3, r4, r5}\n"            \
    ROUGH_PEAK("r2") ROUGH_PEAK("r3") ROUGH_PEAK("r4") ROUGH_PEAK("r5")

/* The bits of the largest |acc| of 4 * turns, where -2^n counts as 2^n - 1; turns > 0. */
__attribute__((naked, noinline)) static uint32_t
rough_peak(const int32_t *acc __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4, r5}\n"
                     "mov r12, #0\n"
                     ROUNDS("r1")
                     "1:\n" ROUGH_PEAKS
                     "2:\n" ROUGH_PEAKS
                     "subs r1, #1\n"
                     "bne 1b\n"
                     "mov r0, r12\n"
                     "pop {r4, r5}\n"
                     "bx lr\n");
}
/* clang-format on */

int16_t tt_quantize_roughly(int8_t *out, const int32_t *acc, int32_t n, int32_t base_bits,
                            uint32_t key, uint32_t first) {
    const uintptr_t behind = (uintptr_t)out - (uintptr_t)acc + (uintptr_t)n;
    const int apart = behind >= 5 * (uintptr_t)n; /* out from acc: both can be made again */
    const int32_t base = base_bits >> 6;
    if (n >= 4 && ((first & 1u) | (n & 3)) == 0 && apart) {
        const int32_t known = base_bits & 63;
        const int32_t bits = known ? known : tt_bit_length(rough_peak(acc, n >> 2));
        if (bits > 7) {
            uint32_t flags = 0;
            __asm__ volatile("msr APSR_nzcvq, %0" : : "r"(flags) : "cc");
            tt_round_fours(out, acc, key + (first >> 1) * TT_GOLDEN, n >> 2, bits - 7);
            __asm__ volatile("mrs %0, APSR" : "=r"(flags) : : "memory");
            if ((flags & 1u << 27) == 0) {
                return (int16_t)(base + bits - 7);
            }
        }
    }
    const int32_t exact = tt_peak(acc, n);
    tt_round_row(out, acc, n, tt_gradient_shift(exact), key, first);
    return tt_row_exponent(exact, base);
}

int16_t tt_quantize_row(int8_t *out, const int32_t *acc, int32_t n, int32_t base, uint32_t key,
                        uint32_t first) {
    return tt_quantize_roughly(out, acc, n, base * 64, key, first);
}
