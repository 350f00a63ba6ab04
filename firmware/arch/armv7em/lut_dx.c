#pragma GCC optimize("Os") /* the loops are assembly */

#include "tinytrain/tt_elementwise.h"

#include "lanes.h"
#include "tinytrain/tt_rows.h"

/* Products that are held at once, half of their bytes in the place of the result. */
#define PART 256

/* Registers of values: every first at from, every second in the place of the result. */
LANES_FUNCTION(round_lanes, "ldr r11, [r1], #4\n"
                            "ldr lr, [r0]\n")

/* clang-format off */
#define MAKE_STEP                              \
    "ldrsb r5, [r3, #1]\n"                     \
    "ldrsb r6, [r3, #2]\n"                     \
    "ldrsb r7, [r3, #3]\n"                     \
    "ldrsb r4, [r3], #4\n"                     \
    "ldr r8, [r2], #4\n"                       \
    "ldrsb r5, [r12, r5]\n"                    \
    "ldrsb r6, [r12, r6]\n"                    \
    "ldrsb r7, [r12, r7]\n"                    \
    "ldrsb r4, [r12, r4]\n"                    \
    "sxtb16 r9, r8, ror #8\n"                  \
    "sxtb16 r8, r8\n"                          \
    "smulbb r4, r8, r4\n"                      \
    "smultb r6, r8, r6\n"                      \
    "smulbb r5, r9, r5\n"                      \
    "smultb r7, r9, r7\n"                      \
    "pkhbt r4, r4, r6, lsl #16\n"              \
    "pkhbt r5, r5, r7, lsl #16\n"              \
    "ssub16 r6, r11, r4\n"                     \
    "sel r6, r6, r4\n"                         \
    "orr r10, r10, r6\n"                       \
    "ssub16 r7, r11, r5\n"                     \
    "sel r7, r7, r5\n"                         \
    "orr r10, r10, r7\n"                       \
    "str r4, [r0], #4\n"                       \
    "str r5, [r1], #4\n"

/* Products of g and slope[x], slope that of 0: registers of values 0 and 2 to first, 1 and 3 to second,
 * which may be g or x. Gives two numbers, in its halves, that together have as many bits as the
 * largest magnitude. 4 * turns products, turns > 0. */
__attribute__((naked, noinline)) static uint32_t
make_lanes(uint32_t *first __attribute__((unused)), void *second __attribute__((unused)),
           const int8_t *g __attribute__((unused)), const int8_t *x __attribute__((unused)),
           const int8_t *slope __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldrd r12, lr, [sp, #36]\n"
                     "mov r10, #0\n"
                     "mov r11, #0\n"
                     "1:\n"
                     MAKE_STEP
                     "subs lr, #1\n"
                     "bne 1b\n"
                     "mov r0, r10\n"
                     "pop {r4-r11, pc}\n");
}
/* clang-format on */

typedef struct {
    const int8_t *g, *x, *slope; /* slope of 0 */
} lut_row;

/* Products from number `at` on: a part, or what remains. */
static inline uint32_t make_part(uint32_t *lanes, void *second, const lut_row *r, int32_t at,
                                 int32_t n) {
    const int32_t turns = (n - at < PART ? n - at : PART) >> 2;
    return make_lanes(lanes, second, r->g + at, r->x + at, r->slope, turns);
}

/* A row of a multiple of four elements, the first an even number of the stream. */
static int16_t round_products(int8_t *out, const lut_row *r, int32_t n, int32_t base, uint32_t key,
                              uint32_t first) {
    uint32_t lanes[PART / 4], peaks = 0;
    int32_t at = 0;
    for (; n - at > PART; at += PART) {
        peaks |= make_part(lanes, lanes, r, at, n);
    }
    peaks |= make_part(lanes, out + at, r, at, n);
    const int32_t peak = (int32_t)((peaks | peaks >> 16) & 0xFFFFu);
    const int32_t up = 8 - tt_gradient_shift(peak);
    for (int32_t count = n - at;; count = PART) {
        round_lanes(out + at, lanes, key + ((first + (uint32_t)at) >> 1) * TT_GOLDEN, count >> 2,
                    up);
        if (at == 0) {
            return tt_row_exponent(peak, base);
        }
        at -= PART;
        (void)make_part(lanes, out + at, r, at, n);
    }
}

static void make_products(int32_t *acc, const void *row, int32_t from, int32_t n) {
    const lut_row *r = (const lut_row *)row;
    const int8_t *g = r->g + from, *x = r->x + from, *slope = r->slope;
    for (int32_t i = 0; i < n; i++) {
        acc[i] = g[i] * slope[x[i]];
    }
}

void tt_lut_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                  const int8_t *x, const int8_t *slope, const tt_step *st, int32_t T, int32_t C,
                  int32_t exp_add, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const lut_row row = {g + t * C, x + t * C, slope + 128};
        const uint32_t first = (uint32_t)((st->row + t) * C);
        const int32_t base = g_exp[t] + exp_add;
        gx_exp[t] = (C & 3) == 0
                        ? round_products(gx + t * C, &row, C, base, key, first)
                        : tt_quantize_made(gx + t * C, make_products, &row, C, base, key, first);
    }
}
