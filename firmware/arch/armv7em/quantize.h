/* Rows of accumulators -> int8 with stochastic rounding, four elements a turn: tt_quantize_row of
 * pairs of rows that lie as tile_s32 leaves them. */
#ifndef TT_QUANTIZE_H
#define TT_QUANTIZE_H

#include "tile.h"
#include "tinytrain/tt_math.h"

/* acc * unit + 127 * 2^16 + 16 random bits has the rounded value, + 127, as its upper half; unit is
 * 2^(16 - shift). Four columns a turn: two numbers of the stream, two halves of each. Gives
 * whether a value below -127 was cut off. */
__attribute__((naked, noinline, unused)) static uint32_t
round_tiles(int8_t *out __attribute__((unused)), const int32_t *acc __attribute__((unused)),
            uint32_t number __attribute__((unused)), int32_t turns __attribute__((unused)),
            int32_t unit __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldr r7, [sp, #36]\n"
                     "movw r4, #0x79B9\n"
                     "movt r4, #0x9E37\n"
                     "movw r5, #0x352D\n"
                     "movt r5, #0x7FEB\n"
                     "movw r6, #0xA68B\n"
                     "movt r6, #0x846C\n"
                     "mov r8, #0x7F0000\n"
                     "mov r9, #0\n"
                     "msr APSR_nzcvq, r9\n"
                     "mov r9, #0x01010101\n"
                     "1:\n"
                     "eor r10, r2, r2, lsr #16\n"
                     "mul r10, r10, r5\n"
                     "eor r10, r10, r10, lsr #15\n"
                     "mul r10, r10, r6\n"
                     "eor r10, r10, r10, lsr #16\n"
                     "ldrd r11, r12, [r1], #16\n"
                     "mla r11, r11, r7, r8\n"
                     "mla r12, r12, r7, r8\n"
                     "uxtah r11, r11, r10\n"
                     "add r12, r12, r10, lsr #16\n"
                     "add r2, r2, r4\n"
                     "eor r10, r2, r2, lsr #16\n"
                     "mul r10, r10, r5\n"
                     "eor r10, r10, r10, lsr #15\n"
                     "mul r10, r10, r6\n"
                     "eor r10, r10, r10, lsr #16\n"
                     "ldr lr, [r1, #4]\n"
                     "mla lr, lr, r7, r8\n"
                     "add lr, lr, r10, lsr #16\n"
                     "pkhtb r12, lr, r12, asr #16\n"
                     "ldr lr, [r1], #16\n"
                     "mla lr, lr, r7, r8\n"
                     "uxtah lr, lr, r10\n"
                     "pkhtb r11, lr, r11, asr #16\n"
                     "add r2, r2, r4\n"
                     "usat16 r11, #8, r11\n"
                     "usat16 r12, #8, r12\n"
                     "orr r11, r11, r12, lsl #8\n"
                     "uqadd8 r11, r11, r9\n"
                     "eor r11, r11, #0x80808080\n"
                     "str r11, [r0], #4\n"
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "mrs r0, APSR\n"
                     "and r0, r0, #0x8000000\n" /* Q: set by usat16 */
                     "pop {r4-r11, pc}\n");
}

#define PEAK_STEP(a, peak)            \
    "eor r8, " a ", " a ", asr #31\n" \
    "orr " peak ", " peak ", r8\n"

/* Numbers with as many bits as the largest |acc| of both rows of tiles, where -2^n counts as 2^n - 1;
 * turns * 4 columns, row 0 in the lower half. */
__attribute__((naked, noinline, unused)) static uint64_t
tile_peaks(const int32_t *acc __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r8, lr}\n"
                     "mov r2, r0\n"
                     "mov r3, r1\n"
                     "mov r0, #0\n"
                     "mov r1, #0\n"
                     "1:\n"
                     ".rept 2\n"
                     "ldmia r2!, {r4, r5, r6, r7}\n" PEAK_STEP("r4", "r0") PEAK_STEP("r5", "r0")
                         PEAK_STEP("r6", "r1") PEAK_STEP("r7", "r1") ".endr\n"
                                                                     "subs r3, #1\n"
                                                                     "bne 1b\n"
                                                                     "pop {r4-r8, pc}\n");
}

/* A number with as many bits as the largest |acc| of row r (0 or 1) of tiles, n columns. */
static inline int32_t row_peak(const int32_t *acc, int32_t n) {
    uint32_t peak = 0;
    for (; n >= 2; n -= 2, acc += 4) {
        const int32_t a = acc[0], b = acc[1];
        peak |= (uint32_t)(a ^ (a >> 31)) + ((uint32_t)a >> 31);
        peak |= (uint32_t)(b ^ (b >> 31)) + ((uint32_t)b >> 31);
    }
    return (int32_t)(n > 0 ? peak | (uint32_t)tt_abs(acc[0]) : peak);
}

/* One row of tiles, n columns; the same bits and draws as tt_quantize_row. peak is that of
 * tile_peaks: where it is one bit short, a value comes out below -127. */
__attribute__((noinline, unused)) static int16_t quantize_tiles(int8_t *out, const int32_t *acc,
                                                                uint32_t peak, int32_t n,
                                                                int32_t base, uint32_t key,
                                                                uint32_t first) {
    int32_t shift = tt_gradient_shift((int32_t)peak);
    const int rounded = peak != 0 && shift <= 16 && (first & 1u) == 0 && (n & 3) == 0;
    if (rounded) {
        const uint32_t number = key + (first >> 1) * TT_GOLDEN;
        if (!round_tiles(out, acc, number, n >> 2, 1 << (16 - shift))) {
            return (int16_t)(base + shift);
        }
    }
    const int32_t exact = row_peak(acc, n);
    if (rounded && shift == tt_gradient_shift(exact)) {
        return (int16_t)(base + shift);
    }
    shift = tt_gradient_shift(exact);
    for (int32_t i = 0; i < n; i++) {
        out[i] = tt_stochastic_shift(acc[i / 2 * 4 + (i & 1)], shift, key, first + (uint32_t)i);
    }
    return tt_row_exponent(exact, base);
}

#endif
