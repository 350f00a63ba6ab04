/* Assembly of a tile: rows from the panel at r0, columns from that at r1, four columns after the other;
 * sums in r2 .. r5. Uses r6 .. r12 and lr. */
#ifndef TT_TILE_STEPS_H
#define TT_TILE_STEPS_H

/* clang-format off */
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
/* clang-format on */

#endif
