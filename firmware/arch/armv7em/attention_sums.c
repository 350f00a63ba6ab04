/* Sums of rows by probabilities and by gradients of scores: products of int16 panels, two rows at a
 * time. The panel of a matrix holds pairs of its columns, four rows after the other. */
#define TT_ARCH_ATTENTION
#include "../../kernels/attention_sums_plain.h"
#include "attention_tiles.h"
#include "quantize.h"

/* Column pairs by two rows, as tile_s32. A pair of columns begins `mult0` bytes behind the end of the
 * one before. */
#define SKIP "add r0, r0, r8\n"
TILE_FUNCTION(skip_s32_4, 4, TILE_PLAIN, TILE_PLAIN_STEP, TILE_LOOP, TILE_STORE SKIP)
TILE_FUNCTION(skip_s32_1, 1, TILE_PLAIN, TILE_PLAIN_STEP, TILE_LOOP, TILE_STORE SKIP)

/* The same to int8, `stride` bytes from one row to the other: round-half-up(acc * mult1 * 2^-32 *
 * 2^-bias[1]) + 127 to uint8, then - 127 with saturation; bias[0] is half and 127. */
#define MIX_SCALE(a)                \
    "smmla " a ", " a ", r10, r8\n" \
    "asr " a ", " a ", r9\n"        \
    "usat " a ", #8, " a "\n"
#define MIX_FINISH                                                                 \
    SKIP "vmov r8, r9, s0, s1\n"                                                   \
         "vmov r10, r11, s6, s7\n" MIX_SCALE("r2") MIX_SCALE("r3") MIX_SCALE("r4") \
             MIX_SCALE("r5") "orr r2, r2, r3, lsl #8\n"                            \
                             "orr r4, r4, r5, lsl #8\n"                            \
                             "orr r2, r2, r4, lsl #16\n"                           \
                             "mov r10, r11\n"                                      \
                             "vmov r11, r12, s8, s9\n"                             \
                             "uqadd8 r2, r2, r12\n"                                \
                             "eor r2, r2, #0x80808080\n"                           \
                             "strh r2, [r11]\n"                                    \
                             "lsr r2, r2, #16\n"                                   \
                             "strh r2, [r11, r10]\n"                               \
                             "add r11, r11, #2\n"
TILE_FUNCTION(mix_4, 4, TILE_PLAIN, TILE_PLAIN_STEP, TILE_LOOP, MIX_FINISH)
TILE_FUNCTION(mix_1, 1, TILE_PLAIN, TILE_PLAIN_STEP, TILE_LOOP, MIX_FINISH)

TRANSPOSE_FUNCTION(transpose_unsigned, "uxtb16")

/* As transpose, of uint8. */
static void transpose_bytes(uint32_t *p, uint32_t *q, uint32_t a, uint32_t b, uint32_t c,
                            uint32_t d) {
    const uint32_t even = 0x00FF00FFu;
    const uint32_t ae = a & even, ao = (a >> 8) & even, ce = c & even, co = (c >> 8) & even;
    p[0] = low_halves(ae, ce);
    p[1] = low_halves(ao, co);
    q[0] = high_halves(ae, ce);
    q[1] = high_halves(ao, co);
    const uint32_t be = b & even, bo = (b >> 8) & even, de = d & even, dd = (d >> 8) & even;
    p[2] = low_halves(be, de);
    p[3] = low_halves(bo, dd);
    q[2] = high_halves(be, de);
    q[3] = high_halves(bo, dd);
}

/* Up to four bytes from `at` on, 0 behind. */
static uint32_t some_bytes(const int8_t *at, int32_t n) {
    uint32_t word = 0;
    for (int32_t c = 0; c < n && c < 4; c++) {
        word |= (uint32_t)(uint8_t)at[c] << (8 * c);
    }
    return word;
}

/* Panels p of columns 0 and 1, q of columns 2 and 3, of n rows `stride` apart, `width` columns of them
 * (less than four: 0 behind); n up to a multiple of 4. */
static void transpose_four(uint32_t *p, uint32_t *q, const int8_t *x, int32_t stride, int32_t n,
                           int32_t width, int32_t is_signed) {
    int32_t i = 0;
    if (width >= 4 && n >= 4) {
        i = n & ~3;
        (is_signed ? transpose_rows : transpose_unsigned)(p, q, x, stride, n >> 2);
    }
    for (; i < n; i += 4) {
        uint32_t word[4];
        for (int32_t b = 0; b < 4; b++) {
            word[b] = i + b < n ? some_bytes(x + (i + b) * stride, width) : 0;
        }
        if (is_signed) {
            transpose(p + i, q + i, word[0], word[1], word[2], word[3]);
        } else {
            transpose_bytes(p + i, q + i, word[0], word[1], word[2], word[3]);
        }
    }
}

tt_matrix tt_matrix_columns(const int8_t *x, int32_t stride, const tt_head *head, tt_room *room) {
    tt_matrix m = {x, stride, NULL};
    const int32_t words = fours(head->T);
    uint32_t *panel = take_panel(room, 2 * words * fours(head->width), head);
    m.panel = panel;
    for (int32_t c = 0; panel != NULL && c < head->width; c += 4, panel += 2 * words) {
        transpose_four(panel, panel + words, x + c, stride, head->T, head->width - c, 1);
    }
    return m;
}

/* Run over the pairs of columns of m, rows from `first` on, n of them; both multiples of 4. */
static tile_run columns_run(const tt_matrix *m, const tt_head *head, int32_t first, int32_t n,
                            int32_t columns, const uint32_t *w) {
    const int32_t words = fours(head->T);
    const uint32_t *x = (const uint32_t *)m->panel + first;
    const tile_run run = {.w_end = w + n,
                          .x_end = x + columns / 2 * words,
                          .mult0 = 4 * (words - n),
                          .w = w,
                          .stride = 16,
                          .x = x};
    return run;
}

void tt_mix_pair(int8_t *y, int32_t second, const uint32_t *p, const tt_matrix *v,
                 const tt_head *head, int32_t n, tt_scaling scale) {
    const int32_t shift = scale.shift - 32;
    tile_run run = columns_run(v, head, 0, fours(n), head->width, p);
    run.bias[0] = (127 << shift) + (int32_t)(1u << (shift - 1));
    run.bias[1] = shift;
    run.mult1 = scale.mult;
    run.stride = second;
    run.out = y;
    run.ones = 0x01010101u;
    (fours(n) % 16 == 0 ? mix_4 : mix_1)(&run);
}

/* A panel of rows a and b of n bytes. */
static void expand_bytes(uint32_t *p, const uint8_t *a, const uint8_t *b, int32_t n) {
    for (; n >= 4; n -= 4, a += 4, b += 4, p += 4) {
        const uint32_t u = load4((const int8_t *)a), v = load4((const int8_t *)b);
        p[0] = u & 0x00FF00FFu;
        p[1] = v & 0x00FF00FFu;
        p[2] = (u >> 8) & 0x00FF00FFu;
        p[3] = (v >> 8) & 0x00FF00FFu;
    }
    if (n > 0) {
        const uint32_t u = some_bytes((const int8_t *)a, n), v = some_bytes((const int8_t *)b, n);
        p[0] = u & 0x00FF00FFu;
        p[1] = v & 0x00FF00FFu;
        p[2] = (u >> 8) & 0x00FF00FFu;
        p[3] = (v >> 8) & 0x00FF00FFu;
    }
}

void tt_mix_rows(int8_t *y, const uint8_t *p, int32_t stride, const tt_matrix *v,
                 const tt_head *head, int32_t i, int32_t n, tt_scaling scale, tt_room room) {
    if (!can_mix(v, head, scale) || room.bytes < 2 * fours(head->T)) {
        plain_mix_rows(y, p, stride, v, head, i, n, scale, room);
        return;
    }
    uint32_t *panel = (uint32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i += 2, p += 2 * stride) {
        const int32_t two = i + 1 < end, last = tt_head_columns(head, i + two);
        expand_bytes(panel, p, p + (two ? stride : 0), last);
        tt_mix_pair(y + tt_head_at(head, i), two ? head->C : 0, panel, v, head, last, scale);
    }
}

/* Two rows of sums (or one) -> rows b and b + 1 of the result. base: of each. */
static void quantize_pair(const tt_result *out, const int32_t *acc, int32_t b, int32_t two,
                          const int32_t base[2], const tt_head *head) {
    const uint64_t peaks = tile_peaks(acc, fours(head->width) / 4);
    for (int32_t r = 0; r <= two; r++) {
        const uint32_t peak = (uint32_t)(r ? peaks >> 32 : peaks);
        out->e[(b + r) * out->e_stride] =
            quantize_tiles(out->x + (b + r) * out->stride, acc + 2 * r, peak, head->width, base[r],
                           out->key, (uint32_t)tt_head_at(head, out->row + b + r));
    }
}

static int has_room(const tt_matrix *x, const tt_head *head, tt_room room) {
    return x->panel != NULL && room.bytes >= line_bytes(head) + 8 * fours(head->width);
}

void tt_row_sums(const tt_result *out, const int8_t *ds, int32_t stride, const int16_t *s_exp,
                 int32_t exp_add, const tt_matrix *x, const tt_head *head, int32_t n,
                 tt_room room) {
    if (!has_room(x, head, room)) {
        plain_row_sums(out, ds, stride, s_exp, exp_add, x, head, n, room);
        return;
    }
    uint32_t *panel = (uint32_t *)(void *)room.at;
    int32_t *acc = (int32_t *)panel + fours(head->T);
    for (int32_t b = 0; b < n; b += 2, ds += 2 * stride) {
        const int32_t i = out->row + b, two = b + 1 < n, last = tt_head_columns(head, i + two);
        const int32_t base[2] = {s_exp[i] + exp_add, s_exp[i + two] + exp_add};
        expand(panel, ds, ds + (two ? stride : 0), last, 0);
        tile_run run = columns_run(x, head, 0, fours(last), fours(head->width), panel);
        run.out = acc;
        (fours(last) % 16 == 0 ? skip_s32_4 : skip_s32_1)(&run);
        quantize_pair(out, acc, b, two, base, head);
    }
}

void tt_column_sums(const tt_result *out, const uint8_t *block, int32_t stride, int32_t is_signed,
                    int32_t base, const tt_matrix *x, const tt_head *head, int32_t n,
                    tt_room room) {
    if (!has_room(x, head, room) || (head->causal && (out->row & 3))) {
        plain_column_sums(out, block, stride, is_signed, base, x, head, n, room);
        return;
    }
    const int32_t bases[2] = {base, base}, T = head->T;
    uint32_t *panel = (uint32_t *)(void *)room.at;
    int32_t *acc = (int32_t *)panel + 2 * fours(T);
    for (int32_t b = 0; b < n; b += 4) {
        const int32_t first = head->causal ? out->row + b : 0, rows = fours(T) - first;
        transpose_four(panel, panel + rows, (const int8_t *)block + first * stride + b, stride,
                       T - first, stride - b, is_signed);
        for (int32_t c = b; c < n && c < b + 4; c += 2) {
            const uint32_t *w = panel + (c - b) / 2 * rows;
            tile_run run = columns_run(x, head, first, rows, fours(head->width), w);
            run.out = acc;
            (rows % 16 == 0 ? skip_s32_4 : skip_s32_1)(&run);
            quantize_pair(out, acc, c, c + 1 < n, bases, head);
        }
    }
}

void tt_align_row(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first) {
    plain_align_row(out, x, n, shift, key, first);
}
