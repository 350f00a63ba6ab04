#pragma GCC optimize("Os") /* the loops are assembly */

#include "panel.h"

/* Both int16 of a pair times 2^shift. */
static inline uint32_t scaled_pair(uint32_t pair, int32_t shift) {
    return (pair << shift) & ~(((1u << shift) - 1u) << 16);
}

/* clang-format off */
/* tt_expand of rows at multiples of 4, eight columns a turn; EXTRACT(d, s, byte): the pair of bytes from
 * `byte` on. */
#define EXPAND_FUNCTION(name, CONSTANTS, EXTRACT)                                              \
    __attribute__((naked, noinline)) static uint32_t *name(                                    \
        uint32_t *p __attribute__((unused)), const int8_t *a __attribute__((unused)),          \
        const int8_t *b __attribute__((unused)), int32_t C __attribute__((unused)),            \
        int32_t shift __attribute__((unused))) {                                               \
        __asm__ volatile("push {r4-r11, lr}\n" CONSTANTS "1:\n"                                \
                         "ldmia r1!, {r4, r5}\n"                                               \
                         "ldmia r2!, {r6, r7}\n"                                               \
                         EXTRACT("r8", "r4", "0")                                              \
                         EXTRACT("r9", "r6", "0")                                              \
                         EXTRACT("r10", "r4", "1")                                             \
                         EXTRACT("r11", "r6", "1")                                             \
                         "stmia r0!, {r8, r9, r10, r11}\n"                                     \
                         EXTRACT("r8", "r5", "0")                                              \
                         EXTRACT("r9", "r7", "0")                                              \
                         EXTRACT("r10", "r5", "1")                                             \
                         EXTRACT("r11", "r7", "1")                                             \
                         "stmia r0!, {r8, r9, r10, r11}\n"                                     \
                         "subs r3, #8\n"                                                       \
                         "bne 1b\n"                                                            \
                         "pop {r4-r11, pc}\n");                                                \
    }

#define EXTRACT_PLAIN(d, s, byte) "sxtb16 " d ", " s ", ror #(8*" byte ")\n"
#define EXTRACT_SHIFTED(d, s, byte) \
    EXTRACT_PLAIN(d, s, byte) "lsl " d ", " d ", r12\nbic " d ", " d ", lr\n"
#define EXTRACT_BY_8_BITS(d, s, byte) "and " d ", lr, " s ", lsl #(8-8*" byte ")\n"
#define EXTRACT_BY_7_BITS(d, s, byte) EXTRACT_BY_8_BITS(d, s, byte) "shadd16 " d ", " d ", r12\n"

#define EXTRACT_BY_2(d, s, byte) EXTRACT_PLAIN(d, s, byte) "qadd16 " d ", " d ", " d "\n"

EXPAND_FUNCTION(expand_plain, "", EXTRACT_PLAIN)
EXPAND_FUNCTION(expand_by_2, "", EXTRACT_BY_2)
EXPAND_FUNCTION(expand_by_8_bits, "mov lr, #0xFF00FF00\n", EXTRACT_BY_8_BITS)
EXPAND_FUNCTION(expand_by_7_bits, "mov lr, #0xFF00FF00\nmov r12, #0\n", EXTRACT_BY_7_BITS)
EXPAND_FUNCTION(expand_shifted,
                "ldr r12, [sp, #36]\nmov lr, #1\nlsl lr, lr, r12\nsub lr, lr, #1\nlsl lr, lr, #16\n",
                EXTRACT_SHIFTED)
/* clang-format on */

/* Up to four bytes, 0 behind them. Without a loop, which would need stack. */
static uint32_t some_bytes(const int8_t *at, int32_t n) {
    if (n >= 4) {
        return dsp_load(at);
    }
    uint32_t word = n > 0 ? (uint8_t)at[0] : 0;
    if (n > 1) {
        word |= (uint32_t)(uint8_t)at[1] << 8;
    }
    return n > 2 ? word | (uint32_t)(uint8_t)at[2] << 16 : word;
}

/* Of any rows. */
static uint32_t *expand_any(uint32_t *p, const int8_t *a, const int8_t *b, int32_t C,
                            int32_t shift) {
    for (; C > 0; C -= 4, a += 4, b += 4, p += 4) {
        const uint32_t u = some_bytes(a, C), v = some_bytes(b, C);
        p[0] = scaled_pair(dsp_even(u), shift);
        p[1] = scaled_pair(dsp_even(v), shift);
        p[2] = scaled_pair(dsp_odd(u), shift);
        p[3] = scaled_pair(dsp_odd(v), shift);
    }
    return p;
}

expander tt_expander(uintptr_t rows, int32_t C, int32_t shift) {
    if ((rows & 3u) != 0 || (C & 7) != 0) {
        return expand_any;
    }
    switch (shift) {
    case 0:
        return expand_plain;
    case 1:
        return expand_by_2;
    case 7:
        return expand_by_7_bits;
    case 8:
        return expand_by_8_bits;
    default:
        return expand_shifted;
    }
}

uint32_t *tt_expand(uint32_t *p, const int8_t *a, const int8_t *b, int32_t C, int32_t shift) {
    return tt_expander((uintptr_t)a | (uintptr_t)b, C, shift)(p, a, b, C, shift);
}

void tt_expand_rows(uint32_t *p, const int8_t *x, int32_t T, int32_t C, int32_t shift) {
    const expander expand = tt_expander((uintptr_t)x, C, shift);
    for (int32_t t = 0; t < T; t += 2, x += 2 * C) {
        p = expand(p, x, t + 1 < T ? x + C : x, C, shift);
    }
}

/* Panels of 4 * turns columns of four rows, transposed; they are `stride` bytes apart. */
__attribute__((naked, noinline)) static void transpose_rows(uint32_t *p __attribute__((unused)),
                                                            int32_t stride __attribute__((unused)),
                                                            const int8_t *const rows[4]
                                                            __attribute__((unused)),
                                                            int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldmia r2, {r2, r4, r5, r6}\n"
                     "1:\n"
                     "ldr r7, [r2], #4\n"
                     "ldr r8, [r4], #4\n"
                     "ldr r9, [r5], #4\n"
                     "ldr r10, [r6], #4\n"
                     "pkhbt r11, r7, r9, lsl #16\n"
                     "pkhbt r12, r8, r10, lsl #16\n"
                     "pkhtb r9, r9, r7, asr #16\n"
                     "pkhtb r10, r10, r8, asr #16\n"
                     "sxtb16 r7, r11\n"
                     "sxtb16 r8, r11, ror #8\n"
                     "sxtb16 r11, r12\n"
                     "sxtb16 r12, r12, ror #8\n"
                     "strd r7, r8, [r0]\n"
                     "strd r11, r12, [r0, #8]\n"
                     "add r0, r0, r1\n"
                     "sxtb16 r7, r9\n"
                     "sxtb16 r8, r9, ror #8\n"
                     "sxtb16 r9, r10\n"
                     "sxtb16 r10, r10, ror #8\n"
                     "strd r7, r8, [r0]\n"
                     "strd r9, r10, [r0, #8]\n"
                     "add r0, r0, r1\n"
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}

/* The same of one strip of four columns, 4 * turns rows that are `stride` bytes apart. */
__attribute__((naked, noinline)) static void
transpose_strip(uint32_t *p __attribute__((unused)), uint32_t *q __attribute__((unused)),
                const int8_t *a __attribute__((unused)), int32_t stride __attribute__((unused)),
                int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldr lr, [sp, #36]\n"
                     "add r12, r3, r3, lsl #1\n"
                     "1:\n"
                     "ldr r4, [r2]\n"
                     "ldr r5, [r2, r3]\n"
                     "ldr r6, [r2, r3, lsl #1]\n"
                     "ldr r7, [r2, r12]\n"
                     "add r2, r2, r3, lsl #2\n"
                     "pkhbt r8, r4, r6, lsl #16\n"
                     "pkhbt r10, r5, r7, lsl #16\n"
                     "pkhtb r4, r6, r4, asr #16\n"
                     "pkhtb r6, r7, r5, asr #16\n"
                     "sxtb16 r9, r8, ror #8\n"
                     "sxtb16 r8, r8\n"
                     "sxtb16 r11, r10, ror #8\n"
                     "sxtb16 r10, r10\n"
                     "stmia r0!, {r8, r9, r10, r11}\n"
                     "sxtb16 r5, r4, ror #8\n"
                     "sxtb16 r4, r4\n"
                     "sxtb16 r7, r6, ror #8\n"
                     "sxtb16 r6, r6\n"
                     "stmia r1!, {r4, r5, r6, r7}\n"
                     "subs lr, #1\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}

/* Up to four columns from i on of row o; 0 behind the last row and column. */
static uint32_t four_columns(const weight *w, int32_t o, int32_t i) {
    return o < w->O ? some_bytes(weight_row(w->w, w->wt, w->rows, o, w->C) + i, w->C - i) : 0;
}

uint32_t *tt_expand_columns(uint32_t *p, int32_t words, const weight *w, int32_t begin,
                            int32_t end) {
    const int together = is_whole(w->wt, w->rows);
    const int32_t fours = w->O & ~3, whole = ((end < w->C ? end : w->C) - begin) & ~3;
    for (int32_t o = 0; !together && whole > 0 && o < fours; o += 4) {
        const int8_t *rows[4];
        for (int32_t r = 0; r < 4; r++) {
            rows[r] = weight_row(w->w, w->wt, w->rows, o + r, w->C) + begin;
        }
        transpose_rows(p + o, 4 * words, rows, whole / 4);
    }
    for (int32_t i = begin; i < end; i += 4, p += 2 * words) {
        const int strip = i < begin + whole;
        if (together && strip && fours > 0) {
            transpose_strip(p, p + words, w->w + i, w->C, fours / 4);
        }
        for (int32_t o = strip ? fours : 0; o < w->O; o += 4) {
            transpose(p + o, p + words + o, four_columns(w, o, i), four_columns(w, o + 1, i),
                      four_columns(w, o + 2, i), four_columns(w, o + 3, i));
        }
    }
    return p;
}
