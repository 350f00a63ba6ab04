#pragma GCC optimize("Os") /* the loops are assembly */

#include "../../kernels/step.h"

/* delta = (acc << left) * m, 32 + down bits down, rounded half up; then clamped to +-limit. */
typedef struct {
    int32_t m, left, down, limit;
    uint64_t fits;  /* acc^2 up to this: acc << left stays in int32 */
    uint64_t small; /* and up to this: nothing needs the clamp */
} step_rate;

static uint64_t square_of(int32_t x) {
    return (uint64_t)((int64_t)x * x);
}

/* fits = 0 where a rate is too large or too small. */
static step_rate step_rate_of(tt_multiplier rate, int32_t limit) {
    step_rate r = {.m = rate.m, .limit = limit};
    if (rate.shift > 32) {
        r.down = rate.shift - 32;
    } else if (rate.m != 0) {
        const int32_t up = 32 - rate.shift;
        r.m <<= up < 7 ? up : 7;
        r.left = up < 7 ? 0 : up - 7;
    }
    if (r.down > 6 || r.left > 16 || limit > 1 << 24) {
        r.left = r.down = 0;
        return r;
    }
    const int32_t widest = INT32_MAX >> r.left;
    r.fits = r.small = square_of(widest);
    if (rate.m != 0) {
        const float most = 0.999f * (float)limit / (float)rate.m * tt_pow2f(rate.shift);
        r.small = most < (float)widest ? square_of((int32_t)most) : r.small;
    }
    return r;
}

/* Adds the squares of 8 * turns numbers to `sum`; gives the largest sum of eight. */
__attribute__((naked, noinline)) static uint64_t squares_of(const int32_t *acc
                                                            __attribute__((unused)),
                                                            int32_t turns __attribute__((unused)),
                                                            uint64_t *sum __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "mov r3, r0\n"
                     "mov r0, #0\n"
                     "ldrd r4, r5, [r2]\n"
                     "mov r6, #0\n"
                     "1:\n"
                     "ldmia r3!, {r9, r10, r11, r12}\n"
                     "smull r7, r8, r9, r9\n"
                     "smlal r7, r8, r10, r10\n"
                     "smlal r7, r8, r11, r11\n"
                     "smlal r7, r8, r12, r12\n"
                     "ldmia r3!, {r9, r10, r11, r12}\n"
                     "smlal r7, r8, r9, r9\n"
                     "smlal r7, r8, r10, r10\n"
                     "smlal r7, r8, r11, r11\n"
                     "smlal r7, r8, r12, r12\n"
                     "cmp r7, r0\n"
                     "sbcs r12, r8, r6\n"
                     "itt hs\n"
                     "movhs r0, r7\n"
                     "movhs r6, r8\n"
                     "adds r4, r4, r7\n"
                     "adc r5, r5, r8\n"
                     "subs r1, #1\n"
                     "bne 1b\n"
                     "strd r4, r5, [r2]\n"
                     "mov r1, r6\n"
                     "pop {r4-r11, pc}\n");
}

/* What the steps of a row's weights share; the order is that of the code. */
typedef struct {
    const int32_t *acc;
    int8_t *w;
    uint32_t number; /* key + draw / 2 * TT_GOLDEN */
    int32_t turns;
    uint32_t mix1, mix2, golden;
    int32_t m, bias, shift;
} step_run;

/* w <- code of (w - delta + noise), four weights a turn. With c = noise - delta + 127 * 2^16, the upper
 * half of c plus w is the result, + 127: saturated to uint8, then - 127 with saturation: +-127. */
#define STEP_FUNCTION(name, DELTA)                                                             \
    __attribute__((naked, noinline)) static void name(const step_run *run                      \
                                                      __attribute__((unused))) {               \
        __asm__ volatile("push {r4-r11, lr}\n"                                                 \
                         "ldmia r0, {r0-r9}\n"                                                 \
                         "1:\n"                                                                \
                         "eor r10, r2, r2, lsr #16\n"                                          \
                         "mul r10, r10, r4\n"                                                  \
                         "eor r10, r10, r10, lsr #15\n"                                        \
                         "mul r10, r10, r5\n"                                                  \
                         "eor r10, r10, r10, lsr #16\n"                                        \
                         "add r2, r2, r6\n"                                                    \
                         "ldrd r11, r12, [r0], #8\n" DELTA("r11")                              \
                             DELTA("r12") "rsb r12, r12, r10, lsr #16\n"                       \
                                          "uxth r10, r10\n"                                    \
                                          "sub r11, r10, r11\n"                                \
                                          "eor r10, r2, r2, lsr #16\n"                         \
                                          "mul r10, r10, r4\n"                                 \
                                          "eor r10, r10, r10, lsr #15\n"                       \
                                          "mul r10, r10, r5\n"                                 \
                                          "eor r10, r10, r10, lsr #16\n"                       \
                                          "add r2, r2, r6\n"                                   \
                                          "ldr lr, [r0, #4]\n" DELTA(                          \
                                              "lr") "rsb lr, lr, r10, lsr #16\n"               \
                                                    "pkhtb r12, lr, r12, asr #16\n"            \
                                                    "ldr lr, [r0], #8\n" DELTA(                \
                                                        "lr") "uxth r10, r10\n"                \
                                                              "sub lr, r10, lr\n"              \
                                                              "pkhtb r11, lr, r11, asr #16\n"  \
                                                              "ldr lr, [r1]\n"                 \
                                                              "sxtab16 r11, r11, lr\n"         \
                                                              "sxtab16 r12, r12, lr, ror #8\n" \
                                                              "usat16 r11, #8, r11\n"          \
                                                              "usat16 r12, #8, r12\n"          \
                                                              "orr r11, r11, r12, lsl #8\n"    \
                                                              "mov r10, #0x01010101\n"         \
                                                              "uqadd8 r11, r11, r10\n"         \
                                                              "eor r11, r11, #0x80808080\n"    \
                                                              "str r11, [r1], #4\n"            \
                                                              "subs r3, #1\n"                  \
                                                              "bne 1b\n"                       \
                                                              "pop {r4-r11, pc}\n");           \
    }

/* delta, - 127 * 2^16. */
#define DELTA_LEFT(r) "lsl " r ", " r ", r9\nsmmlar " r ", " r ", r7, r8\n"
#define DELTA_DOWN(r) "smmla " r ", " r ", r7, r8\nasr " r ", " r ", r9\n"
STEP_FUNCTION(step_left, DELTA_LEFT)
STEP_FUNCTION(step_down, DELTA_DOWN)

/* One weight, as the portable kernel has it. */
static void step_one(const tt_weight_step *s, int8_t *w, int8_t *fraction, int32_t acc,
                     int32_t at) {
    const int32_t delta = tt_apply_multiplier(acc, s->rate, s->limit);
    if (has_fraction(fraction)) {
        step_wide(w + at, fraction + at, delta);
    } else {
        const int32_t wide = w[at] * 65536 - delta + tt_random16(s->key, (uint32_t)at);
        w[at] = (int8_t)tt_clamp(wide >> 16, 127);
    }
}

static inline int32_t delta_of(int32_t acc, const step_rate *r) {
    int32_t d;
    if (r->down > 0) {
        const int32_t half = 1 << (r->down - 1);
        __asm__("smmla %0, %1, %2, %3" : "=r"(d) : "r"(acc), "r"(r->m), "r"(half));
        d >>= r->down;
    } else {
        __asm__("smmulr %0, %1, %2" : "=r"(d) : "r"(acc << r->left), "r"(r->m));
    }
    return tt_clamp(d, r->limit);
}

static inline int8_t code_of(int32_t wide) {
    int32_t v;
    __asm__("ssat %0, #8, %1, asr #16" : "=r"(v) : "r"(wide));
    return (int8_t)(v < -127 ? -127 : v);
}

/* n weights, pairs from an even number on, whose deltas may need the clamp. */
static void step_clamped(int8_t *w, const int32_t *acc, int32_t n, uint32_t number,
                         const step_rate *r) {
    for (const int8_t *end = w + n; w != end; w += 2, acc += 2, number += TT_GOLDEN) {
        const uint32_t random = tt_mix(number);
        w[0] = code_of(w[0] * 65536 - delta_of(acc[0], r) + (int32_t)(random & 0xFFFFu));
        w[1] = code_of(w[1] * 65536 - delta_of(acc[1], r) + (int32_t)(random >> 16));
    }
}

#define PIECE 256 /* weights that are looked at together for one that needs the clamp */

/* Adds the squares of n sums; gives the largest sum of eight of them, or of one. */
static uint64_t add_squares(uint64_t *sum, const int32_t *acc, int32_t n) {
    uint64_t most = 0;
    if (n >= 8) {
        most = squares_of(acc, n / 8, sum);
    }
    for (int32_t i = n & ~7; i < n; i++) {
        const uint64_t square = square_of(acc[i]);
        *sum += square;
        most = square > most ? square : most;
    }
    return most;
}

void tt_weight_step_row(tt_weight_step *s, int8_t *w, int8_t *fraction, const int32_t *acc,
                        int32_t C, const float *coef) {
    if (TT_USES_SGD && coef != NULL) {
        s->rate = sgd_rate(s->eta, coef[0], s->exponent);
    }
    const step_rate r = step_rate_of(s->rate, s->limit);
    step_run run = {.mix1 = 0x7FEB352Du,
                    .mix2 = 0x846CA68Bu,
                    .golden = TT_GOLDEN,
                    .m = r.m,
                    .bias = -127 * 65536,
                    .shift = r.left};
    if (r.down > 0) {
        run.bias = run.bias * (1 << r.down) + (1 << (r.down - 1));
        run.shift = r.down;
    }
    for (int32_t n; C > 0; C -= n, acc += n) {
        const int32_t at = s->count;
        n = at & 1 ? 1 : (C < PIECE ? C : PIECE);
        const uint64_t most = add_squares(&s->squares, acc, n);
        int32_t i = 0;
        if (has_fraction(fraction) && most <= r.fits) {
            for (; i < n; i++) {
                step_wide(w + at + i, fraction + at + i, delta_of(acc[i], &r));
            }
        } else if (!has_fraction(fraction) && n >= 4 && most <= r.small) {
            run.acc = acc;
            run.w = w + at;
            run.number = s->key + ((uint32_t)at >> 1) * TT_GOLDEN;
            run.turns = n / 4;
            if (r.down == 0) {
                step_left(&run);
            } else {
                step_down(&run);
            }
            i = n & ~3;
        }
        if (!has_fraction(fraction) && n - i >= 2 && most <= r.fits) {
            const uint32_t number = s->key + ((uint32_t)(at + i) >> 1) * TT_GOLDEN;
            step_clamped(w + at + i, acc + i, (n - i) & ~1, number, &r);
            i = n & ~1;
        }
        for (; i < n; i++) {
            step_one(s, w, fraction, acc[i], at + i);
        }
        s->count += n;
    }
}
