#include "tile.h"
#include "tile_steps.h"

/* clang-format off */
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
    "strd r2, r4, [r11], #8\n" \
    "strd r3, r5, [r10], #8\n" \
    "vmov s8, s9, r10, r11\n"

/* So many steps behind the first. */
#define TILE_STEPS(n) ".rept " #n "\n" TILE_STEP ".endr\n"

/* The first step of sums without bias. */
#define TILE_UNBIASED          \
    TILE_LOADS                 \
    "smuad r2, r6, r10\n"     \
    "smuad r3, r6, r11\n"     \
    "smuad r4, r7, r10\n"     \
    "smuad r5, r7, r11\n" TILE_ODD

/* What ends all tiles: the next from label 1 on. */
#define TILE_END(FINISH)            \
    "vmov r1, r7, s4, s5\n" FINISH  \
    "cmp r0, r7\n"                  \
    "bne 1b\n"                      \
    "pop {r4-r11, pc}\n"

/* All pairs of rows x .. x_end by the pair of columns w .. w_end, 4 * (n + 1) columns long. */
#define TILE_FUNCTION(name, FIRST, n, FINISH)                                        \
    __attribute__((naked, noinline)) static void name(const tile_run *run            \
                                                      __attribute__((unused))) {     \
        __asm__ volatile("push {r4-r11, lr}\n"                                       \
                         "vldmia r0, {s0-s11}\n"                                     \
                         "vmov r1, s4\n"                                             \
                         "ldr r0, [r0, #48]\n"                                       \
                         "1:\n" FIRST TILE_STEPS(n) TILE_END(FINISH));                \
    }

TILE_FUNCTION(tile_s8_16, TILE_BIASED, 15, TILE_REQUANTIZE)
TILE_FUNCTION(tile_s8_4, TILE_BIASED, 3, TILE_REQUANTIZE)
TILE_FUNCTION(tile_s32_16, TILE_UNBIASED, 15, TILE_STORE)

#define TILE_NEXT_ROUND \
    "vmov r6, s2\n"     \
    "cmp.w r1, r6\n"    \
    "bne.w 2b\n"

/* The same of any number of columns, int32 or int8: rounds of 32 steps, the first of which begins where
 * what remains is a multiple of 32. s12: where it begins; s3: what follows a round, the end where there is
 * only one. */
__attribute__((naked, noinline, aligned(4))) static void tile_any(const tile_run *run
                                                                  __attribute__((unused)),
                                                                  int32_t wide
                                                                  __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "vldmia r0, {s0-s11}\n"
                     "adr.w r4, 3f\n"
                     "cbz r1, 0f\n"
                     "adr.w r4, 5f\n"
                     "0:\n"
                     "vmov r2, s3\n"
                     "cmp r2, #32\n"
                     "it le\n"
                     "addle r4, #12\n" /* bytes of code before the end */
                     "vmov s3, r4\n"
                     "rsbs r2, r2, #0\n"
                     "ite eq\n"
                     "moveq r2, #32\n"
                     "andne r2, r2, #31\n"
                     "mov r3, #40\n" /* bytes of code of a step */
                     "adr r4, 2f\n"
                     "mla r4, r2, r3, r4\n"
                     "vmov s12, r4\n"
                     "vmov r1, s4\n"
                     "ldr r0, [r0, #48]\n"
                     "1:\n" TILE_BIASED
                     "vmov r6, s12\n"
                     "mov pc, r6\n"
                     ".p2align 2\n"
                     "2:\n" TILE_STEPS(32)
                     "vmov r6, s3\n"
                     "mov pc, r6\n"
                     ".p2align 2\n"
                     "3:\n" TILE_NEXT_ROUND TILE_END(TILE_REQUANTIZE)
                     ".p2align 2\n"
                     "5:\n" TILE_NEXT_ROUND TILE_END(TILE_STORE));
}
/* clang-format on */

static void tile_s8_any(const tile_run *run) {
    tile_any(run, 0);
}

static void tile_s32_any(const tile_run *run) {
    tile_any(run, 1);
}

tile_runner tt_tiles_s8(int32_t words) {
    return words == 64 ? tile_s8_16 : (words == 16 ? tile_s8_4 : tile_s8_any);
}

tile_runner tt_tiles_s32(int32_t words) {
    return words == 64 ? tile_s32_16 : tile_s32_any;
}
