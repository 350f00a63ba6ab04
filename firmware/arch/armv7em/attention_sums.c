#pragma GCC optimize("Os") /* the loops are assembly */

/* Sums of rows by probabilities and by gradients of scores: products of int16 panels, two rows at a
 * time. The panel of a matrix holds pairs of its columns, four rows after the other. */
#define TT_ARCH_ATTENTION
#include "../../kernels/attention_sums_plain.h"
#include "attention_products.h"
#include "attention_tiles.h"
#include "expand.h"
#include "lanes.h"
#include "tinytrain/tt_rows.h"

/* Up to four bytes from `at` on, 0 behind. */
static uint32_t some_bytes(const int8_t *at, int32_t n) {
    if (n >= 4) {
        return dsp_load(at);
    }
    uint32_t word = 0;
    for (int32_t c = 0; c < n; c++) {
        word |= (uint32_t)(uint8_t)at[c] << (8 * c);
    }
    return word;
}

/* The same of any n rows, from row i on, and of `width` columns: 0 behind them. */
TT_SMALL __attribute__((noinline)) static void transpose_rest(uint32_t *p, const int8_t *x,
                                                              int32_t stride, int32_t n,
                                                              int32_t width, int32_t is_signed,
                                                              int32_t i) {
    for (; i < fours(n); i++) {
        for (int32_t c = 0; c < 4; c++) {
            const int32_t a = i < n && c < width ? x[i * stride + c] : 0;
            int16_t *pair = (int16_t *)(p + (c >> 1) * fours(n) + (i & ~3));
            pair[((i & 1) * 2 + (c & 1)) * 2 + ((i >> 1) & 1)] =
                (int16_t)(is_signed ? a : (uint8_t)a);
        }
    }
}

static inline void transpose_four(uint32_t *p, const int8_t *x, int32_t stride, int32_t n,
                                  int32_t width, int32_t is_signed) {
    const int32_t whole = width >= 4 ? n & ~3 : 0;
    if (whole > 0 && is_signed) {
        transpose_signed(p, x, stride, n);
    } else if (whole > 0) {
        transpose_unsigned(p, x, stride, n);
    }
    if (whole < n) {
        transpose_rest(p, x, stride, n, width, is_signed, whole);
    }
}

/* Panels of four columns each. Where not all of them fit, the last place is that of those which are
 * made when they are needed; `held` is how many stay. */
tt_matrix tt_matrix_columns(const int8_t *x, int32_t stride, const tt_head *head, tt_room *room) {
    tt_matrix m = {x, stride, NULL, 0};
    const int32_t words = fours(head->T), all = fours(head->width) / 4;
    const int32_t fit = (room->bytes - work_bytes(head)) / (8 * words);
    uint32_t *panel = take_panel(room, 8 * words * (fit < all ? (fit > 0 ? fit : 0) : all), head);
    m.panel = panel;
    m.held = fit < all ? fit - 1 : all;
    for (int32_t c = 0; panel != NULL && c < m.held; c++, panel += 2 * words) {
        transpose_four(panel, x + 4 * c, stride, head->T, head->width - 4 * c, 1);
    }
    return m;
}

/* Products of two rows run->w, n elements, and all columns of m from row `first` on; both multiples of
 * 4. out0, out1, w, products and what these need are set. */
__attribute__((noinline)) static void column_products(product_run *run, const tt_matrix *m,
                                                      const tt_head *head, int32_t first,
                                                      int32_t n) {
    const int32_t words = fours(head->T), pairs = (head->width + 1) / 2;
    run->skip = 4 * (words - n);
    run->w_end = run->w + n;
    for (int32_t c = 0; c < pairs;) {
        int32_t end = 2 * m->held;
        const uint32_t *x = m->panel;
        if (c >= end) {
            x += 2 * m->held * words;
            transpose_four((uint32_t *)x, m->x + 2 * c, m->stride, head->T, head->width - 2 * c, 1);
            end = c + 2;
        }
        end = end < pairs ? end : pairs;
        run->x = x + first;
        run->x_end = run->x + (end - c) * words;
        run->products(run);
        c = end;
    }
}

void tt_mix_pair(int8_t *y, int32_t second, uint32_t *p, const tt_matrix *v, const tt_head *head,
                 int32_t n, tt_scaling scale) {
    const int32_t shift = scale.shift - 32;
    product_run *run = run_of(p, head);
    run->half = (127 << shift) + (int32_t)(1u << (shift - 1));
    run->shift = shift;
    run->mult = scale.mult;
    run->out0 = y;
    run->out1 = y + second;
    run->w = p;
    run->products = mix_products;
    column_products(run, v, head, 0, fours(n));
}

#define EXTRACT_UNSIGNED(d, s, byte) "uxtb16 " d ", " s ", ror #(8*" byte ")\n"
EXPAND_FUNCTION(expand_bytes, "", EXTRACT_UNSIGNED)

/* As tt_expand, of n uint8. */
__attribute__((noinline)) static void expand_unsigned(uint32_t *p, const uint8_t *a,
                                                      const uint8_t *b, int32_t n) {
    if ((((uintptr_t)a | (uintptr_t)b) & 3u) == 0 && n >= 16) {
        const int32_t done = n & ~15;
        expand_bytes(p, (const int8_t *)a, (const int8_t *)b, n >> 4, 0);
        p += done;
        a += done;
        b += done;
        n &= 15;
    }
    for (; n > 0; n -= 4, a += 4, b += 4, p += 4) {
        const uint32_t u = some_bytes((const int8_t *)a, n), v = some_bytes((const int8_t *)b, n);
        p[0] = u & 0x00FF00FFu;
        p[1] = v & 0x00FF00FFu;
        p[2] = (u >> 8) & 0x00FF00FFu;
        p[3] = (v >> 8) & 0x00FF00FFu;
    }
}

void tt_mix_rows(int8_t *y, const uint8_t *p, int32_t stride, const tt_matrix *v,
                 const tt_head *head, int32_t i, int32_t n, tt_scaling scale, tt_room room) {
    if (!can_mix(v, head, scale) || room.bytes < work_bytes(head)) {
        plain_mix_rows(y, p, stride, v, head, i, n, scale, room);
        return;
    }
    uint32_t *panel = (uint32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i += 2, p += 2 * stride) {
        const int32_t two = i + 1 < end, last = tt_head_columns(head, i + two);
        expand_unsigned(panel, p, p + (two ? stride : 0), last);
        tt_mix_pair(y + tt_head_at(head, i), two ? head->C : 0, panel, v, head, last, scale);
    }
}

#define ROUGH_PEAK(a)                    \
    "eor " a ", " a ", " a ", asr #31\n" \
    "orr r12, r12, " a "\n"

/* The bits of the largest |acc| of 4 * turns, where -2^n counts as 2^n - 1. */
__attribute__((naked, noinline)) static uint32_t
rough_peak(const int32_t *acc __attribute__((unused)), int32_t turns __attribute__((unused))) {
    __asm__ volatile("push {r4, r5}\n"
                     "mov r12, #0\n"
                     "1:\n"
                     "ldmia r0!, {r2, r3, r4, r5}\n" ROUGH_PEAK("r2") ROUGH_PEAK("r3")
                         ROUGH_PEAK("r4") ROUGH_PEAK("r5") "subs r1, #1\n"
                                                           "bne 1b\n"
                                                           "mov r0, r12\n"
                                                           "pop {r4, r5}\n"
                                                           "bx lr\n");
}

int16_t tt_quantize_roughly(int8_t *out, const int32_t *acc, uint32_t peak, int32_t n, int32_t base,
                            uint32_t key, uint32_t first) {
    const int32_t shift = tt_gradient_shift((int32_t)peak);
    if (shift > 0 && (first & 1u) == 0 && (n & 3) == 0) {
        uint32_t flags = 0;
        __asm__ volatile("msr APSR_nzcvq, %0" : : "r"(flags) : "cc");
        tt_round_row(out, acc, n, shift, key, first);
        __asm__ volatile("mrs %0, APSR" : "=r"(flags) : : "memory");
        if ((flags & 1u << 27) == 0) {
            return (int16_t)(base + shift);
        }
    }
    return tt_quantize_row(out, acc, n, base, key, first);
}

/* A row of sums -> row b of the result. */
static inline void put_sums(const tt_result *out, const int32_t *acc, int32_t b, int32_t base,
                            const tt_head *head) {
    int8_t *row = out->x + b * out->stride;
    const uint32_t first = (uint32_t)tt_head_at(head, out->row + b);
    out->e[b * out->e_stride] =
        head->width & 3 ? tt_quantize_row(row, acc, head->width, base, out->key, first)
                        : tt_quantize_roughly(row, acc, rough_peak(acc, head->width >> 2),
                                              head->width, base, out->key, first);
}

static int has_room(const tt_matrix *x, const tt_head *head, tt_room room) {
    return x->panel != NULL && room.bytes >= work_bytes(head);
}

void tt_row_sums(const tt_result *out, const int8_t *ds, int32_t stride, const int16_t *s_exp,
                 int32_t exp_add, const tt_matrix *x, const tt_head *head, int32_t n,
                 tt_room room) {
    if (!has_room(x, head, room)) {
        plain_row_sums(out, ds, stride, s_exp, exp_add, x, head, n, room);
        return;
    }
    uint32_t *panel = (uint32_t *)(void *)room.at;
    product_run *run = run_of(panel, head);
    int32_t *acc = (int32_t *)panel + fours(head->T);
    for (int32_t b = 0; b < n; b += 2, ds += 2 * stride) {
        const int32_t i = out->row + b, two = b + 1 < n, last = tt_head_columns(head, i + two);
        tt_expand(panel, ds, ds + (two ? stride : 0), last, 0);
        run->out0 = acc;
        run->out1 = acc + fours(head->width);
        run->w = panel;
        run->products = tt_products;
        column_products(run, x, head, 0, fours(last));
        for (int32_t r = 0; r <= two; r++) {
            put_sums(out, acc + r * fours(head->width), b + r, s_exp[i + r] + exp_add, head);
        }
    }
}

void tt_column_sums(const tt_result *out, const uint8_t *block, int32_t stride, int32_t is_signed,
                    int32_t base, const tt_matrix *x, const tt_head *head, int32_t n,
                    tt_room room) {
    if (!has_room(x, head, room) || (head->causal && (out->row & 3))) {
        plain_column_sums(out, block, stride, is_signed, base, x, head, n, room);
        return;
    }
    const int32_t T = head->T;
    uint32_t *panel = (uint32_t *)(void *)room.at;
    product_run *run = run_of(panel, head);
    int32_t *acc = (int32_t *)panel + 2 * fours(T);
    for (int32_t b = 0; b < n; b += 4) {
        const int32_t first = head->causal ? out->row + b : 0, rows = fours(T) - first;
        transpose_four(panel, (const int8_t *)block + first * stride + b, stride, T - first,
                       stride - b, is_signed);
        for (int32_t c = b; c < n && c < b + 4; c += 2) {
            const uint32_t *w = panel + (c - b) / 2 * rows;
            run->out0 = acc;
            run->out1 = acc + fours(head->width);
            run->w = w;
            run->products = tt_products;
            column_products(run, x, head, first, rows);
            for (int32_t r = 0; r < 2 && c + r < n; r++) {
                put_sums(out, acc + r * fours(head->width), c + r, base, head);
            }
        }
    }
}

void tt_align_row(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first) {
    int32_t done = 0;
    if (shift == 0 && out != x) {
        for (; done + 4 <= n; done += 4) {
            dsp_store(out + done, dsp_load(x + done));
        }
    }
    if (shift >= 1 && shift <= 8 && (first & 1u) == 0 && n >= 4) {
        round_codes(out, x, key + (first >> 1) * TT_GOLDEN, n >> 2, 8 - shift);
        done = n & ~3;
    }
    if (done < n) {
        plain_align_row(out + done, x + done, n - done, shift, key, first + (uint32_t)done);
    }
}
