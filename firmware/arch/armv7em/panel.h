/* Panels: two rows of a matrix of int8 as int16, four columns after the other as four words: row 0
 * columns (0,2), row 1 columns (0,2), row 0 columns (1,3), row 1 columns (1,3). Columns behind the last
 * are 0. */
#ifndef TT_PANEL_H
#define TT_PANEL_H

#include "dsp.h"

/* Both int16 of a pair times 2^shift. */
static inline uint32_t scaled_pair(uint32_t pair, int32_t shift) {
    return (pair << shift) & ~(((1u << shift) - 1u) << 16);
}

/* Words of a panel of C columns. */
static inline int32_t panel_words(int32_t C) {
    return (C + 3) / 4 * 4;
}

/* Sixteen columns of two rows a turn; every extraction is EXTRACT dest, source, byte. */
#define EXPAND_LOOP(EXTRACT)                                                                      \
    "1: ldmia %[a]!, {r4, r5}\n"                                                                  \
    "ldmia %[b]!, {r6, r8}\n" EXTRACT("r9", "r4", "0") EXTRACT("r10", "r6",                       \
                                                               "0") EXTRACT("r11", "r4", "1")     \
        EXTRACT("r12", "r6", "1") "stmia %[p]!, {r9, r10, r11, r12}\n" EXTRACT("r9", "r5", "0")   \
            EXTRACT("r10", "r8", "0") EXTRACT("r11", "r5", "1") EXTRACT(                          \
                "r12", "r8",                                                                      \
                "1") "stmia %[p]!, {r9, r10, r11, r12}\n"                                         \
                     "ldmia %[a]!, {r4, r5}\n"                                                    \
                     "ldmia %[b]!, {r6, r8}\n" EXTRACT("r9", "r4", "0") EXTRACT(                  \
                         "r10", "r6", "0") EXTRACT("r11", "r4", "1")                              \
                         EXTRACT("r12", "r6", "1") "stmia %[p]!, {r9, r10, r11, r12}\n" EXTRACT(  \
                             "r9", "r5", "0") EXTRACT("r10", "r8", "0") EXTRACT("r11", "r5", "1") \
                             EXTRACT("r12", "r8", "1") "stmia %[p]!, {r9, r10, r11, r12}\n"       \
                                                       "subs %[n], #1\n"                          \
                                                       "bne 1b\n"

#define EXTRACT_PLAIN(d, s, byte) "sxtb16 " d ", " s ", ror #(8*" byte ")\n"
#define EXTRACT_SHIFTED(d, s, byte)            \
    "sxtb16 " d ", " s ", ror #(8*" byte ")\n" \
    "lsl " d ", " d ", %[k]\n"                 \
    "bic " d ", " d ", %[m]\n"
#define EXTRACT_BY_8(d, s, byte) "and " d ", %[m], " s ", lsl #(8-8*" byte ")\n"

#define EXPAND(EXTRACT, ...)                                                  \
    __asm__ volatile(EXPAND_LOOP(EXTRACT)                                     \
                     : [p] "+r"(p), [a] "+r"(a), [b] "+r"(b), [n] "+r"(turns) \
                     : __VA_ARGS__                                            \
                     : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "cc", "memory")

/* A panel from rows a and b times 2^shift, shift in [0, 8]. Gives the word behind it. */
__attribute__((noinline, unused)) static uint32_t *
expand(uint32_t *p, const int8_t *a, const int8_t *b, int32_t C, int32_t shift) {
    int32_t left = C;
    if ((((uintptr_t)a | (uintptr_t)b) & 3u) == 0 && C >= 16) {
        int32_t turns = C >> 4;
        if (shift == 0) {
            EXPAND(EXTRACT_PLAIN, "r"(0));
        } else if (shift == 8) {
            EXPAND(EXTRACT_BY_8, [m] "r"(0xFF00FF00u));
        } else {
            EXPAND(EXTRACT_SHIFTED, [k] "r"(shift), [m] "r"(((1u << shift) - 1u) << 16));
        }
        left = C & 15;
    }
    for (; left > 0; left -= 4, a += 4, b += 4, p += 4) {
        uint32_t u = 0, v = 0;
        if (left >= 4) {
            u = dsp_load(a);
            v = dsp_load(b);
        } else {
            for (int32_t i = 0; i < left; i++) {
                u |= (uint32_t)(uint8_t)a[i] << (8 * i);
                v |= (uint32_t)(uint8_t)b[i] << (8 * i);
            }
        }
        p[0] = scaled_pair(dsp_even(u), shift);
        p[1] = scaled_pair(dsp_even(v), shift);
        p[2] = scaled_pair(dsp_odd(u), shift);
        p[3] = scaled_pair(dsp_odd(v), shift);
    }
    return p;
}

/* Four rows a .. d of four columns, transposed: a group of the panel of columns 0 and 1 at p, of that
 * of 2 and 3 at q. */
static inline void transpose(uint32_t *p, uint32_t *q, uint32_t a, uint32_t b, uint32_t c,
                             uint32_t d) {
    const uint32_t ac = dsp_pair((int32_t)a, (int32_t)c), bd = dsp_pair((int32_t)b, (int32_t)d);
    p[0] = dsp_even(ac);
    p[1] = dsp_odd(ac);
    p[2] = dsp_even(bd);
    p[3] = dsp_odd(bd);
    const uint32_t ca = dsp_tops((int32_t)c, (int32_t)a), db = dsp_tops((int32_t)d, (int32_t)b);
    q[0] = dsp_even(ca);
    q[1] = dsp_odd(ca);
    q[2] = dsp_even(db);
    q[3] = dsp_odd(db);
}

/* The same of 4 * turns columns; panels are `stride` bytes apart. */
__attribute__((naked, noinline, unused)) static void
transpose_rows(uint32_t *p __attribute__((unused)), int32_t stride __attribute__((unused)),
               const int8_t *const rows[4] __attribute__((unused)),
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

#endif
