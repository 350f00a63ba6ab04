/* Products of int16 panels on cores with the DSP extension (Cortex-M4, M7), two rows by two columns.
 *
 * A panel holds two rows of a matrix of int8 as int16, four columns after the other as four words:
 * row 0 columns (0,2), row 1 columns (0,2), row 0 columns (1,3), row 1 columns (1,3); columns behind
 * the last are 0. Two loads of four words feed eight SMLAD. */
#ifndef TT_TILE_H
#define TT_TILE_H

#include <stdint.h>
#include <string.h>

static inline uint32_t load4(const int8_t *at) {
    uint32_t word;
    __builtin_memcpy(&word, at, 4);
    return word;
}

/* Bytes 0 and 2 as two int16. */
static inline uint32_t even_bytes(uint32_t word) {
    uint32_t r;
    __asm__("sxtb16 %0, %1" : "=r"(r) : "r"(word));
    return r;
}

/* Bytes 1 and 3 as two int16. */
static inline uint32_t odd_bytes(uint32_t word) {
    uint32_t r;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(word));
    return r;
}

static inline int32_t smlad(uint32_t a, uint32_t b, int32_t acc) {
    int32_t r;
    __asm__("smlad %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
    return r;
}

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
            u = load4(a);
            v = load4(b);
        } else {
            for (int32_t i = 0; i < left; i++) {
                u |= (uint32_t)(uint8_t)a[i] << (8 * i);
                v |= (uint32_t)(uint8_t)b[i] << (8 * i);
            }
        }
        p[0] = scaled_pair(even_bytes(u), shift);
        p[1] = scaled_pair(even_bytes(v), shift);
        p[2] = scaled_pair(odd_bytes(u), shift);
        p[3] = scaled_pair(odd_bytes(v), shift);
    }
    return p;
}

/* Low halves of a and b, the upper halves. */
static inline uint32_t low_halves(uint32_t a, uint32_t b) {
    uint32_t r;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

static inline uint32_t high_halves(uint32_t a, uint32_t b) {
    uint32_t r;
    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

/* Four rows a, b, c, d of four columns, transposed: one group of columns 0 and 1 to p, one of 2 and
 * 3 to q. */
static inline void transpose(uint32_t *p, uint32_t *q, uint32_t a, uint32_t b, uint32_t c,
                             uint32_t d) {
    const uint32_t ae = even_bytes(a), ao = odd_bytes(a), ce = even_bytes(c), co = odd_bytes(c);
    p[0] = low_halves(ae, ce);
    p[1] = low_halves(ao, co);
    q[0] = high_halves(ae, ce);
    q[1] = high_halves(ao, co);
    const uint32_t be = even_bytes(b), bo = odd_bytes(b), de = even_bytes(d), dd = odd_bytes(d);
    p[2] = low_halves(be, de);
    p[3] = low_halves(bo, dd);
    q[2] = high_halves(be, de);
    q[3] = high_halves(bo, dd);
}

/* The same of 4 * turns rows of bytes from a on, `stride` apart. EXTEND: of int8 or uint8. */
#define TRANSPOSE_FUNCTION(name, EXTEND)                                                    \
    __attribute__((naked, noinline, unused)) static void name(                              \
        uint32_t *p __attribute__((unused)), uint32_t *q __attribute__((unused)),           \
        const int8_t *a __attribute__((unused)), int32_t stride __attribute__((unused)),    \
        int32_t turns __attribute__((unused))) {                                            \
        __asm__ volatile("push {r4-r11, lr}\n"                                              \
                         "ldr lr, [sp, #36]\n"                                              \
                         "add r12, r3, r3, lsl #1\n"                                        \
                         "1:\n"                                                             \
                         "ldr r4, [r2]\n"                                                   \
                         "ldr r5, [r2, r3]\n"                                               \
                         "ldr r6, [r2, r3, lsl #1]\n"                                       \
                         "ldr r7, [r2, r12]\n"                                              \
                         "add r2, r2, r3, lsl #2\n" EXTEND " r8, r4\n" EXTEND               \
                         " r4, r4, ror #8\n" EXTEND " r10, r6\n" EXTEND " r6, r6, ror #8\n" \
                         "pkhbt r9, r8, r10, lsl #16\n"                                     \
                         "pkhtb r10, r10, r8, asr #16\n"                                    \
                         "pkhbt r11, r4, r6, lsl #16\n"                                     \
                         "pkhtb r6, r6, r4, asr #16\n"                                      \
                         "strd r9, r11, [r0], #8\n"                                         \
                         "strd r10, r6, [r1], #8\n" EXTEND " r8, r5\n" EXTEND               \
                         " r5, r5, ror #8\n" EXTEND " r10, r7\n" EXTEND " r7, r7, ror #8\n" \
                         "pkhbt r9, r8, r10, lsl #16\n"                                     \
                         "pkhtb r10, r10, r8, asr #16\n"                                    \
                         "pkhbt r11, r5, r7, lsl #16\n"                                     \
                         "pkhtb r7, r7, r5, asr #16\n"                                      \
                         "strd r9, r11, [r0], #8\n"                                         \
                         "strd r10, r7, [r1], #8\n"                                         \
                         "subs lr, #1\n"                                                    \
                         "bne 1b\n"                                                         \
                         "pop {r4-r11, pc}\n");                                             \
    }

TRANSPOSE_FUNCTION(transpose_rows, "sxtb16")

/* What a run over pairs of rows reads from registers of the FPU; the order is that of the code. */
typedef struct {
    int32_t bias[2];
    const uint32_t *w_end, *x_end;
    int32_t mult0;
    const uint32_t *w;
    int32_t mult1;
    int32_t stride; /* bytes: between rows of int8, between tiles of int32 */
    void *out;
    uint32_t ones; /* 0x01010101 */
    const uint32_t *x;
} tile_run;

#define TILE_LOADS                  \
    "ldmia r0!, {r6, r7, r8, r9}\n" \
    "ldmia r1!, {r10, r11, r12, lr}\n"
#define TILE_ODD              \
    "smlad r2, r8, r12, r2\n" \
    "smlad r3, r8, lr, r3\n"  \
    "smlad r4, r9, r12, r4\n" \
    "smlad r5, r9, lr, r5\n"
#define TILE_STEP             \
    TILE_LOADS                \
    "smlad r2, r6, r10, r2\n" \
    "smlad r3, r6, r11, r3\n" \
    "smlad r4, r7, r10, r4\n" \
    "smlad r5, r7, r11, r5\n" TILE_ODD
#define TILE_BIASED                                              \
    "vmov r2, r3, s0, s1\n" TILE_LOADS "smlad r4, r7, r10, r2\n" \
    "smlad r5, r7, r11, r3\n"                                    \
    "smlad r2, r6, r10, r2\n"                                    \
    "smlad r3, r6, r11, r3\n" TILE_ODD
/* Sums lie by columns: row 0 column 0, row 1 column 0, row 0 column 1, row 1 column 1. */
#define TILE_PLAIN            \
    TILE_LOADS                \
    "smuad r2, r6, r10\n"     \
    "smuad r4, r6, r11\n"     \
    "smuad r3, r7, r10\n"     \
    "smuad r5, r7, r11\n"     \
    "smlad r2, r8, r12, r2\n" \
    "smlad r4, r8, lr, r4\n"  \
    "smlad r3, r9, r12, r3\n" \
    "smlad r5, r9, lr, r5\n"
#define TILE_PLAIN_STEP       \
    TILE_LOADS                \
    "smlad r2, r6, r10, r2\n" \
    "smlad r4, r6, r11, r4\n" \
    "smlad r3, r7, r10, r3\n" \
    "smlad r5, r7, r11, r5\n" \
    "smlad r2, r8, r12, r2\n" \
    "smlad r4, r8, lr, r4\n"  \
    "smlad r3, r9, r12, r3\n" \
    "smlad r5, r9, lr, r5\n"

/* round-half-up of 2^-48 * product, + 127, to uint8; then - 127 with saturation: +-127. The word's
 * halves are the two rows. */
#define TILE_REQUANTIZE           \
    "vmov r9, r10, s6, s7\n"      \
    "mov r12, #0x7F8000\n"        \
    "smmla r2, r2, r8, r12\n"     \
    "smmla r4, r4, r8, r12\n"     \
    "smmla r3, r3, r9, r12\n"     \
    "smmla r5, r5, r9, r12\n"     \
    "pkhtb r2, r4, r2, asr #16\n" \
    "pkhtb r3, r5, r3, asr #16\n" \
    "usat16 r2, #8, r2\n"         \
    "usat16 r3, #8, r3\n"         \
    "orr r2, r2, r3, lsl #8\n"    \
    "vmov r11, r12, s8, s9\n"     \
    "uqadd8 r2, r2, r12\n"        \
    "eor r2, r2, #0x80808080\n"   \
    "strh r2, [r11]\n"            \
    "lsr r2, r2, #16\n"           \
    "strh r2, [r11, r10]\n"       \
    "add r11, r11, r10, lsl #1\n"
#define TILE_STORE                  \
    "vmov r10, r11, s7, s8\n"       \
    "stmia r11, {r2, r3, r4, r5}\n" \
    "add r11, r11, r10\n"

#define TILE_LOOP  \
    "cmp r1, r6\n" \
    "bne 3f\n"

/* All pairs of rows x .. x_end by the pair of columns w .. w_end; a panel is a multiple of STEPS
 * groups of four, or just so many where LOOP is empty. */
#define TILE_FUNCTION(name, STEPS, FIRST, STEP, LOOP, FINISH)                            \
    __attribute__((naked, noinline, unused)) static void name(const tile_run *run        \
                                                              __attribute__((unused))) { \
        __asm__ volatile("push {r4-r11, lr}\n"                                           \
                         "vldmia r0, {s0-s9}\n"                                          \
                         "ldr r1, [r0, #20]\n"                                           \
                         "ldr r0, [r0, #40]\n"                                           \
                         "1:\n" FIRST "2:\n"                                             \
                         ".rept " #STEPS " - 1\n" STEP ".endr\n"                         \
                         "vmov r6, r7, s2, s3\n" LOOP "vmov r8, r1, s4, s5\n" FINISH     \
                         "vmov s8, r11\n"                                                \
                         "cmp r0, r7\n"                                                  \
                         "bne 1b\n"                                                      \
                         "pop {r4-r11, pc}\n"                                            \
                         "3:\n" STEP "b 2b\n");                                          \
    }

TILE_FUNCTION(tile_s8_64_columns, 16, TILE_BIASED, TILE_STEP, "", TILE_REQUANTIZE)
TILE_FUNCTION(tile_s8_16, 16, TILE_BIASED, TILE_STEP, TILE_LOOP, TILE_REQUANTIZE)
TILE_FUNCTION(tile_s8_4, 4, TILE_BIASED, TILE_STEP, TILE_LOOP, TILE_REQUANTIZE)
TILE_FUNCTION(tile_s8_1, 1, TILE_BIASED, TILE_STEP, TILE_LOOP, TILE_REQUANTIZE)
TILE_FUNCTION(tile_s32_16, 16, TILE_PLAIN, TILE_PLAIN_STEP, TILE_LOOP, TILE_STORE)
TILE_FUNCTION(tile_s32_4, 4, TILE_PLAIN, TILE_PLAIN_STEP, TILE_LOOP, TILE_STORE)
TILE_FUNCTION(tile_s32_1, 1, TILE_PLAIN, TILE_PLAIN_STEP, TILE_LOOP, TILE_STORE)

typedef void (*tile_function)(const tile_run *run);

/* y[t,o], y[t,o+1] of both rows as int8: rows of the panel x, columns of the panel w. */
static inline tile_function tile_s8(int32_t words) {
    if (words == 64) {
        return tile_s8_64_columns;
    }
    return words % 64 == 0 ? tile_s8_16 : (words % 16 == 0 ? tile_s8_4 : tile_s8_1);
}

/* Four sums a tile: column 0 rows 0, 1, column 1 rows 0, 1. */
static inline tile_function tile_s32(int32_t words) {
    return words % 64 == 0 ? tile_s32_16 : (words % 16 == 0 ? tile_s32_4 : tile_s32_1);
}

#endif
