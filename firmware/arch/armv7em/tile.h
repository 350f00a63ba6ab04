/* Products of panels, two rows by two columns: two loads of four words feed eight SMLAD. */
#ifndef TT_TILE_H
#define TT_TILE_H

#include "panel.h"

/* What a run over pairs of rows reads from registers of the FPU; the order is that of the code. */
typedef struct {
    int32_t bias[2];
    const uint32_t *w_end;
    int32_t left_out; /* steps of the first time round */
    const uint32_t *w, *x_end;
    int32_t mult[2];
    union {
        int32_t stride; /* of int8: bytes between rows */
        int32_t *out1;  /* of int32: sums of column 1 */
    };
    union {
        int8_t *out;
        int32_t *out0;
    };
    uint32_t ones, half; /* 0x01010101, 0x7F8000 */
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
    "vmov r8, r9, s6, s7\n"       \
    "vmov r10, r11, s8, s9\n"     \
    "vmov r12, lr, s10, s11\n"    \
    "smmla r2, r2, r8, lr\n"      \
    "smmla r4, r4, r8, lr\n"      \
    "smmla r3, r3, r9, lr\n"      \
    "smmla r5, r5, r9, lr\n"      \
    "pkhtb r2, r4, r2, asr #16\n" \
    "pkhtb r3, r5, r3, asr #16\n" \
    "usat16 r2, #8, r2\n"         \
    "usat16 r3, #8, r3\n"         \
    "orr r2, r2, r3, lsl #8\n"    \
    "uqadd8 r2, r2, r12\n"        \
    "eor r2, r2, #0x80808080\n"   \
    "strh r2, [r11]\n"            \
    "lsr r2, r2, #16\n"           \
    "strh r2, [r11, r10]\n"       \
    "add r11, r11, r10, lsl #1\n" \
    "vmov s9, r11\n"
#define TILE_STORE             \
    "vmov r10, r11, s8, s9\n"  \
    "strd r2, r3, [r11], #8\n" \
    "strd r4, r5, [r10], #8\n" \
    "vmov s8, s9, r10, r11\n"

/* All pairs of rows x .. x_end by the pair of columns w .. w_end. */
#define TILE_FUNCTION(name, FIRST, STEPS, FINISH)                                         \
    __attribute__((naked, noinline, unused)) static void name(const tile_run *run         \
                                                              __attribute__((unused))) {  \
        __asm__ volatile("push {r4-r11, lr}\n"                                            \
                         "vldmia r0, {s0-s11}\n"                                          \
                         "vmov r2, s3\n"                                                  \
                         "mov r3, #40\n" /* bytes of code of a step */                    \
                         "adr r4, 2f\n"                                                   \
                         "mla r2, r2, r3, r4\n"                                           \
                         "vmov s3, r2\n"                                                  \
                         "vmov r1, s4\n"                                                  \
                         "ldr r0, [r0, #48]\n"                                            \
                         "1:\n" FIRST STEPS "vmov r1, r7, s4, s5\n" FINISH "cmp r0, r7\n" \
                         "bne 1b\n"                                                       \
                         "pop {r4-r11, pc}\n");                                           \
    }

/* So many steps, whatever left_out says; and any number. */
#define TILE_STEPS(n, STEP) ".p2align 2\n2: .rept " #n "\n" STEP ".endr\n"
#define TILE_ANY(STEP)                                  \
    "vmov r6, s3\n"                                     \
    "mov pc, r6\n" TILE_STEPS(16, STEP) "vmov r6, s2\n" \
                                        "cmp r1, r6\n"  \
                                        "bne 2b\n"

TILE_FUNCTION(tile_s8_16, TILE_BIASED, TILE_STEPS(15, TILE_STEP), TILE_REQUANTIZE)
TILE_FUNCTION(tile_s8_4, TILE_BIASED, TILE_STEPS(3, TILE_STEP), TILE_REQUANTIZE)
TILE_FUNCTION(tile_s8_any, TILE_BIASED, TILE_ANY(TILE_STEP), TILE_REQUANTIZE)
TILE_FUNCTION(tile_s32_16, TILE_PLAIN, TILE_STEPS(15, TILE_PLAIN_STEP), TILE_STORE)
TILE_FUNCTION(tile_s32_any, TILE_PLAIN, TILE_ANY(TILE_PLAIN_STEP), TILE_STORE)

/* Panels of so many words: where the run ends, what its first round leaves out. */
static inline void set_words(tile_run *run, const uint32_t *w, int32_t words) {
    const int32_t more = words / 4 - 1; /* steps behind the first */
    run->w = w;
    run->w_end = w + words;
    run->left_out = more == 0 ? 16 : -more & 15;
}

/* y[t,o], y[t,o+1] of both rows as int8: rows of the panel x, columns of the panel w. */
static inline void run_s8(const tile_run *run) {
    const int32_t words = (int32_t)(run->w_end - run->w);
    if (words == 64) {
        tile_s8_16(run);
    } else if (words == 16) {
        tile_s8_4(run);
    } else {
        tile_s8_any(run);
    }
}

/* Sums: of column 0 with rows 0 and 1 to out0, of column 1 to out1. */
static inline void run_s32(const tile_run *run) {
    if (run->w_end - run->w == 64) {
        tile_s32_16(run);
    } else {
        tile_s32_any(run);
    }
}

#endif
