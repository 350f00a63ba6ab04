#include "tinytrain/tt_gradient.h"

#include "../../kernels/sum_rows.h"
#include "tinytrain/tt_rows.h"

/* 4 * turns accumulators, turns > 0: from at the two operands. */
__attribute__((naked, noinline)) static void
make_fours(int32_t *acc __attribute__((unused)), const int8_t *first __attribute__((unused)),
           const int8_t *second __attribute__((unused)), int32_t turns __attribute__((unused)),
           const sum_row *row __attribute__((unused))) {
    /* clang-format off */
    __asm__ volatile("push {r4-r11, lr}\n"
                     "ldr r4, [sp, #36]\n"
                     "ldr r6, [r4, #16]\n"
                     "ldrd r4, r5, [r4, #8]\n"
                     "1:\n"
                     "ldr r10, [r1], #4\n"
                     "ldr r12, [r2], #4\n"
                     "sxtb16 r9, r10\n"
                     "sxtb16 r10, r10, ror #8\n"
                     "sxtb16 r11, r12\n"
                     "sxtb16 r12, r12, ror #8\n"
                     "smulbb r7, r11, r5\n"
                     "smulbb r8, r12, r5\n"
                     "smultb r11, r11, r5\n"
                     "smultb r12, r12, r5\n"
                     "asr r7, r7, r6\n"
                     "asr r8, r8, r6\n"
                     "asr r11, r11, r6\n"
                     "asr r12, r12, r6\n"
                     "smlabb r7, r9, r4, r7\n"
                     "smlabb r8, r10, r4, r8\n"
                     "smlatb r9, r9, r4, r11\n"
                     "smlatb r10, r10, r4, r12\n"
                     "stmia r0!, {r7, r8, r9, r10}\n"
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
    /* clang-format on */
}

static void make_sum(int32_t *acc, const void *row, int32_t from, int32_t n) {
    const sum_row *r = (const sum_row *)row;
    const int8_t *a = r->first + from, *b = r->second + from;
    if (n >= 4) {
        make_fours(acc, a, b, n >> 2, r);
    }
    for (int32_t i = n & ~3; i < n; i++) {
        acc[i] = a[i] * r->factor_1 + ((b[i] * r->factor_2) >> r->down);
    }
}

void tt_grad_add_s8(int8_t *out, int16_t *out_exp, const int8_t *a, const int16_t *a_exp,
                    const int8_t *b, const int16_t *b_exp, const tt_step *st, int32_t T, int32_t C,
                    int32_t rho_q14, int32_t rho_e, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int32_t ea = a_exp[t], eb = b_exp[t] + rho_e;
        const sum_row row = sum_row_of(a + t * C, b + t * C, rho_q14, eb - ea);
        out_exp[t] = tt_quantize_made(out + t * C, make_sum, &row, C, (ea > eb ? ea : eb) - 14, key,
                                      (uint32_t)((st->row + t) * C));
    }
}
