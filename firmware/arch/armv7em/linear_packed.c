#include "tinytrain/tt_linear.h"

#include "dsp.h"

/* What a run reads from registers of the FPU; the order is that of the code. */
typedef struct {
    const uint32_t *x; /* pairs (1,3) of four columns, then 256 * (0,2) less these */
    int32_t left_out;  /* steps of eight columns that the first turn of four begins behind */
    const int8_t *w;
    const uint32_t *x_end;
    const int32_t *b;
    int8_t *y;
    int32_t mult, half, shift; /* shift less by 32; half = 2^(shift-1) - 2^shift */
    const int8_t *y_end;
} packed_run;

/* clang-format off */
#define PACKED_FOUR(odd, low)           \
    "ldmia r1!, {r10, r11, r12, lr}\n"  \
    "smlad r2, r10, " odd ", r2\n"      \
    "smlad r3, r11, " odd ", r3\n"      \
    "smlad r4, r12, " odd ", r4\n"      \
    "smlad r5, lr, " odd ", r5\n"       \
    "sxtb16 r10, r10\n"                 \
    "sxtb16 r11, r11\n"                 \
    "sxtb16 r12, r12\n"                 \
    "sxtb16 lr, lr\n"                   \
    "smlad r2, r10, " low ", r2\n"      \
    "smlad r3, r11, " low ", r3\n"      \
    "smlad r4, r12, " low ", r4\n"      \
    "smlad r5, lr, " low ", r5\n"

/* Four outputs at a time: 256 times their sums, which may wrap on the way; 1 is added at the end, where
 * it saturates, so that nothing is -128. */
__attribute__((naked, noinline, aligned(4))) static void packed_outputs(const packed_run *run
                                                          __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "vldmia r0, {s0-s9}\n"
                     "vmov r1, r2, s1, s2\n"
                     "mov r3, #108\n" /* bytes of code of a step */
                     "adr r4, 2f\n"
                     "mla r1, r1, r3, r4\n"
                     "vmov s1, r1\n"
                     "mov r1, r2\n"
                     "1:\n"
                     "vmov r0, r6, s0, s1\n"
                     "movs r2, #0\n"
                     "movs r3, #0\n"
                     "movs r4, #0\n"
                     "movs r5, #0\n"
                     "mov pc, r6\n"
                     ".p2align 2\n"
                     "2:\n"
                     ".rept 4\n"
                     "ldmia r0!, {r6, r7, r8, r9}\n"
                     PACKED_FOUR("r6", "r7")
                     PACKED_FOUR("r8", "r9")
                     ".endr\n"
                     "vmov r6, s3\n"
                     "cmp r0, r6\n"
                     "bne 2b\n"
                     "vmov r6, r7, s4, s5\n"
                     "ldmia r6!, {r8, r9, r10, r11}\n"
                     "add r2, r8, r2, asr #8\n"
                     "add r3, r9, r3, asr #8\n"
                     "add r4, r10, r4, asr #8\n"
                     "add r5, r11, r5, asr #8\n"
                     "vmov r8, r9, s6, s7\n"
                     "vmov r10, r11, s8, s9\n"
                     "mov r12, #0x01010101\n"
                     "smmla r2, r2, r8, r9\n"
                     "smmla r3, r3, r8, r9\n"
                     "smmla r4, r4, r8, r9\n"
                     "smmla r5, r5, r8, r9\n"
                     "asr r2, r2, r10\n"
                     "asr r3, r3, r10\n"
                     "asr r4, r4, r10\n"
                     "asr r5, r5, r10\n"
                     "ssat r2, #8, r2\n"
                     "ssat r3, #8, r3\n"
                     "ssat r4, #8, r4\n"
                     "ssat r5, #8, r5\n"
                     "bfi r2, r3, #8, #8\n"
                     "bfi r4, r5, #8, #8\n"
                     "bfi r2, r4, #16, #16\n"
                     "qadd8 r2, r2, r12\n"
                     "str r2, [r7], #4\n"
                     "vmov s4, s5, r6, r7\n"
                     "cmp r7, r11\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}
/* clang-format on */

/* Of four columns: pairs (1,3), and 256 * (0,2) less these. */
static inline void two_pairs(uint32_t pairs[2], const int8_t *x) {
    const uint32_t word = dsp_load(x);
    pairs[0] = dsp_odd(word);
    __asm__("ssub16 %0, %1, %2" : "=r"(pairs[1]) : "r"(word << 8 & 0xFF00FF00u), "r"(pairs[0]));
}

/* Four outputs without a panel, of any multiplier. */
static void four_outputs(int8_t *y, const int8_t *x, const int8_t *w, const int32_t *b,
                         int32_t mult, int32_t shift, int32_t C) {
    int32_t sums[4] = {0, 0, 0, 0};
    for (const int8_t *const end = x + C; x != end; x += 4) {
        uint32_t pairs[2];
        two_pairs(pairs, x);
        for (int32_t r = 0; r < 4; r++, w += 4) {
            const uint32_t word = dsp_load(w);
            sums[r] = dsp_dot(dsp_even(word), pairs[1], dsp_dot(word, pairs[0], sums[r]));
        }
    }
    for (int32_t r = 0; r < 4; r++) {
        y[r] = (int8_t)tt_requantize((sums[r] >> 8) + b[r], mult, shift, 127);
    }
}

void tt_linear_packed_s8(int8_t *y, const int8_t *x, const int8_t *w, const int32_t *b,
                         const int32_t *mult, const int32_t *shift, int32_t *scratch, int32_t room,
                         int32_t C, int32_t O) {
    const int32_t down = shift[0] - 32, words = C / 2;
    uint32_t *const panel = (uint32_t *)scratch;
    if (room < 4 * words || down <= 0 || ((uintptr_t)w & 3u) != 0) {
        for (int32_t o = 0; o < O; o += 4) {
            four_outputs(y + o, x, w + o * C, b + o, mult[0], shift[0], C);
        }
        return;
    }
    for (int32_t i = 0; i < words; i += 2) {
        two_pairs(panel + i, x + 2 * i);
    }
    const packed_run run = {.x = panel,
                            .left_out = -(C / 8) & 3,
                            .w = w,
                            .x_end = panel + words,
                            .b = b,
                            .y = y,
                            .mult = mult[0],
                            .half = (1 << down >> 1) - (1 << down),
                            .shift = down,
                            .y_end = y + O};
    packed_outputs(&run);
}
