#include "tinytrain/tt_elementwise.h"

#include "dsp.h"
#include "tinytrain/tt_rows.h"

static inline int32_t affine(int32_t x, int32_t m, int32_t c, int32_t half, int32_t shift) {
    int32_t v = (x * m + c + half) >> shift;
    __asm__("ssat %0, #8, %0" : "+r"(v));
    return v;
}

void tt_affine_s8(int8_t *y, const int8_t *x, const int32_t *m, const int32_t *c, int32_t T,
                  int32_t C, int32_t shift) {
    const int32_t half = 1 << (shift - 1);
    for (int32_t t = 0; t < T; t++, x += C, y += C) {
        int32_t i = 0;
        for (; i + 3 < C; i += 4) {
            const int32_t v0 = affine(x[i], m[i], c[i], half, shift);
            const int32_t v1 = affine(x[i + 1], m[i + 1], c[i + 1], half, shift);
            const int32_t v2 = affine(x[i + 2], m[i + 2], c[i + 2], half, shift);
            const int32_t v3 = affine(x[i + 3], m[i + 3], c[i + 3], half, shift);
            dsp_store(y + i, dsp_bytes(dsp_pair(v0, v2), dsp_pair(v1, v3)));
        }
        for (; i < C; i++) {
            y[i] = (int8_t)tt_clamp((x[i] * m[i] + c[i] + half) >> shift, 127);
        }
    }
}

typedef struct {
    const int8_t *g;
    const int16_t *m;
} scaled_row;

/* 4 * turns products, turns > 0. */
__attribute__((naked, noinline)) static void make_fours(int32_t *acc __attribute__((unused)),
                                                        const int8_t *g __attribute__((unused)),
                                                        const int16_t *m __attribute__((unused)),
                                                        int32_t turns __attribute__((unused))) {
    /* clang-format off */
    __asm__ volatile("push {r4-r8}\n"
                     "1:\n"
                     "ldr r7, [r1], #4\n"
                     "ldr r8, [r2, #4]\n"
                     "ldr r6, [r2], #8\n"
                     "sxtb16 r12, r7\n"
                     "sxtb16 r7, r7, ror #8\n"
                     "smulbb r4, r12, r6\n"
                     "smulbt r5, r7, r6\n"
                     "smultb r6, r12, r8\n"
                     "smultt r7, r7, r8\n"
                     "stmia r0!, {r4, r5, r6, r7}\n"
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "pop {r4-r8}\n"
                     "bx lr\n");
    /* clang-format on */
}

static void make_scaled(int32_t *acc, const void *row, int32_t from, int32_t n) {
    const scaled_row *r = (const scaled_row *)row;
    if (n >= 4) {
        make_fours(acc, r->g + from, r->m + from, n >> 2);
    }
    for (int32_t i = n & ~3; i < n; i++) {
        acc[i] = r->g[from + i] * r->m[from + i];
    }
}

void tt_rescale_grad_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int16_t *m, const tt_step *st, int32_t T, int32_t C, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const scaled_row row = {g + t * C, m};
        gx_exp[t] = tt_quantize_made(gx + t * C, make_scaled, &row, C, g_exp[t] + exp_add, key,
                                     (uint32_t)((st->row + t) * C));
    }
}
