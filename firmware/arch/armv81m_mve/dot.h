/* Dot products of int8 by Helium, 16 products an instruction: two rows x by pairs of rows w. In
 * assembly for loops that mask their last turn by themselves (DLSTP, LETP) and for what little is
 * between them.
 *
 * Sums lie in tiles of four: x0.w0, x0.w1, x1.w0, x1.w1. */
#ifndef TT_DOT_H
#define TT_DOT_H

#include <arm_mve.h>

/* Words of a row of tiles with n columns. */
static inline int32_t tile_words(int32_t n) {
    return (n + 1) / 2 * 4;
}

#define DOT_PAIRS(next_rows)         \
    "push {r4-r11, lr}\n"            \
    "ldrd r9, r10, [sp, #36]\n"      \
    "add r11, r9, #15\n"             \
    "bic r11, r11, #15\n"            \
    "1:\n" next_rows "movs r4, #0\n" \
    "movs r6, #0\n"                  \
    "mov r8, #0\n"                   \
    "mov r12, #0\n"                  \
    "dlstp.8 lr, r9\n"               \
    "2:\n"                           \
    "vldrb.8 q0, [r2], #16\n"        \
    "vldrb.8 q2, [r5], #16\n"        \
    "vmladava.s8 r4, q0, q2\n"       \
    "vldrb.8 q1, [r3], #16\n"        \
    "vmladava.s8 r8, q1, q2\n"       \
    "vldrb.8 q3, [r7], #16\n"        \
    "vmladava.s8 r6, q0, q3\n"       \
    "vmladava.s8 r12, q1, q3\n"      \
    "letp lr, 2b\n"                  \
    "sub r2, r2, r11\n"              \
    "sub r3, r3, r11\n"              \
    "strd r4, r6, [r0], #8\n"        \
    "strd r8, r12, [r0], #8\n"       \
    "subs r10, #1\n"                 \
    "bne 1b\n"                       \
    "pop {r4-r11, pc}\n"

#define UNNAMED __attribute__((unused))

/* Pairs of tiles over n elements; w: the rows' addresses. */
__attribute__((naked, noinline, unused)) static void
dot_listed(int32_t *tiles UNNAMED, const int8_t *const *w UNNAMED, const int8_t *x0 UNNAMED,
           const int8_t *x1 UNNAMED, int32_t n UNNAMED, int32_t pairs UNNAMED) {
    __asm__ volatile(DOT_PAIRS("ldrd r5, r7, [r1], #8\n"));
}

/* The same for rows w of n elements, one behind the other. */
__attribute__((naked, noinline, unused)) static void
dot_rows(int32_t *tiles UNNAMED, const int8_t *w UNNAMED, const int8_t *x0 UNNAMED,
         const int8_t *x1 UNNAMED, int32_t n UNNAMED, int32_t pairs UNNAMED) {
    __asm__ volatile(DOT_PAIRS("mov r5, r1\n"
                               "add r7, r1, r9\n"
                               "add r1, r7, r9\n"));
}

/* All of `count` rows, also where that is odd: the last is then its own pair. */
static inline void dot_matrix(int32_t *tiles, const int8_t *w, const int8_t *x0, const int8_t *x1,
                              int32_t n, int32_t count) {
    if (count > 1) {
        dot_rows(tiles, w, x0, x1, n, count / 2);
    }
    if ((count & 1) != 0) {
        const int8_t *last = w + (count - 1) * n;
        const int8_t *const pair[2] = {last, last};
        dot_listed(tiles + count / 2 * 4, pair, x0, x1, n, 1);
    }
}

#endif
