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
    "strd r2, r3, [r11], #8\n" \
    "strd r4, r5, [r10], #8\n" \
    "vmov s8, s9, r10, r11\n"

/* All pairs of rows x .. x_end by the pair of columns w .. w_end. */
#define TILE_FUNCTION(name, ENTER, FIRST, STEPS, FINISH)                                  \
    __attribute__((naked, noinline, aligned(4))) static void name(const tile_run *run     \
                                                      __attribute__((unused))) {          \
        __asm__ volatile("push {r4-r11, lr}\n"                                            \
                         "vldmia r0, {s0-s11}\n" ENTER                                    \
                         "vmov r1, s4\n"                                                  \
                         "ldr r0, [r0, #48]\n"                                            \
                         "1:\n" FIRST STEPS "vmov r1, r7, s4, s5\n" FINISH                \
                         "cmp r0, r7\n"                                                   \
                         "bne 1b\n"                                                       \
                         "pop {r4-r11, pc}\n");                                           \
    }

/* So many steps behind the first. */
#define TILE_STEPS(n, STEP) ".rept " #n "\n" STEP ".endr\n"

/* Any number in rounds of n, a power of two; the first begins where what remains is a multiple of n. */
#define TILE_ENTER(n)                                 \
    "vmov r2, s3\n"                                   \
    "rsbs r2, r2, #0\n"                               \
    "ite eq\n"                                        \
    "moveq r2, #" #n "\n"                             \
    "andne r2, r2, #" #n " - 1\n"                     \
    "mov r3, #40\n" /* bytes of code of a step */     \
    "adr r4, 2f\n"                                    \
    "mla r2, r2, r3, r4\n"                            \
    "vmov s3, r2\n"
#define TILE_ANY(n, STEP)    \
    "vmov r6, s3\n"          \
    "mov pc, r6\n"           \
    ".p2align 2\n"           \
    "2:\n" TILE_STEPS(n, STEP) \
    "vmov r6, s2\n"          \
    "cmp r1, r6\n"           \
    "bne 2b\n"

TILE_FUNCTION(tile_s8_16, "", TILE_BIASED, TILE_STEPS(15, TILE_STEP), TILE_REQUANTIZE)
TILE_FUNCTION(tile_s8_4, "", TILE_BIASED, TILE_STEPS(3, TILE_STEP), TILE_REQUANTIZE)
TILE_FUNCTION(tile_s8_any, TILE_ENTER(32), TILE_BIASED, TILE_ANY(32, TILE_STEP), TILE_REQUANTIZE)
TILE_FUNCTION(tile_s32_16, "", TILE_PLAIN, TILE_STEPS(15, TILE_PLAIN_STEP), TILE_STORE)
TILE_FUNCTION(tile_s32_any, TILE_ENTER(16), TILE_PLAIN, TILE_ANY(16, TILE_PLAIN_STEP), TILE_STORE)
/* clang-format on */

tile_runner tt_tiles_s8(int32_t words) {
    return words == 64 ? tile_s8_16 : (words == 16 ? tile_s8_4 : tile_s8_any);
}

tile_runner tt_tiles_s32(int32_t words) {
    return words == 64 ? tile_s32_16 : tile_s32_any;
}
