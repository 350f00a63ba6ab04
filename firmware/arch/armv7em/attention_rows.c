#pragma GCC optimize("Os") /* the loops are assembly */

/* Softmax, forward and backward, two rows at a time: products of int16 panels, DSP instructions. */
#define TT_ARCH_ATTENTION
#include "../../kernels/attention_rows_plain.h"
#include "attention_tiles.h"
#include "round.h"
#include "softmax.h"

tt_matrix tt_matrix_rows(const int8_t *x, const tt_head *head, tt_room *room) {
    tt_matrix m = {x + tt_head_at(head, 0), head->C, NULL, 0};
    const int32_t words = panel_words(head->width), pairs = (head->T + 1) / 2;
    uint32_t *panel = take_panel(room, 4 * words * pairs, head);
    m.panel = panel;
    for (int32_t i = 0; panel != NULL && i < head->T; i += 2) {
        const int8_t *row = m.x + i * m.stride;
        panel = tt_expand(panel, row, i + 1 < head->T ? row + m.stride : row, head->width, 0);
    }
    return m;
}

/* Whether rows can go in pairs. */
static int in_pairs(const tt_matrix *m, const tt_head *head, tt_room room) {
    return (m->panel != NULL || (head->width & 3) == 0) && room.bytes >= work_bytes(head);
}

/* Products of two rows, a panel from x to x_end, and rows of bytes, in pairs k0, k1 that lie `skip`
 * bytes behind the end of the pair before. The order is that of the code. */
typedef struct {
    int32_t skip;
    const uint32_t *x;
    int32_t *out0, *out1;
    const uint32_t *x_end;
    const int8_t *k_end, *k0, *k1;
} byte_run;

#define BYTE_STEP                     \
    "ldr r6, [r0], #4\n"              \
    "ldr r7, [r1], #4\n"              \
    "ldmia lr!, {r8, r9, r10, r11}\n" \
    "sxtb16 r12, r6\n"                \
    "smlad r2, r12, r8, r2\n"         \
    "smlad r4, r12, r9, r4\n"         \
    "sxtb16 r6, r6, ror #8\n"         \
    "smlad r2, r6, r10, r2\n"         \
    "smlad r4, r6, r11, r4\n"         \
    "sxtb16 r12, r7\n"                \
    "smlad r3, r12, r8, r3\n"         \
    "smlad r5, r12, r9, r5\n"         \
    "sxtb16 r7, r7, ror #8\n"         \
    "smlad r3, r7, r10, r3\n"         \
    "smlad r5, r7, r11, r5\n"

/* Sums of each row. From the middle of four groups of 60 bytes of code on. */
__attribute__((naked, noinline, aligned(4))) static void byte_products(const byte_run *run
                                                                       __attribute__((unused))) {
    __asm__ volatile("push {r4-r11, lr}\n"
                     "vldmia r0, {s0-s5}\n"
                     "ldrd r0, r1, [r0, #24]\n"
                     "vmov r2, s4\n"
                     "vmov lr, s1\n"
                     "sub r2, r2, lr\n"
                     "lsr r2, r2, #4\n"
                     "and r2, r2, #3\n"
                     "mov r3, #60\n"
                     "mul r2, r2, r3\n"
                     "adr r3, 3f\n"
                     "sub r3, r3, r2\n"
                     "orr r3, r3, #1\n"
                     "vmov s6, r3\n"
                     "1:\n"
                     "mov r2, #0\n"
                     "mov r3, #0\n"
                     "mov r4, #0\n"
                     "mov r5, #0\n"
                     "vmov r6, s6\n"
                     "bx r6\n"
                     "2:\n"
                     ".rept 4\n" BYTE_STEP ".endr\n"
                     "3:\n"
                     "vmov r6, r7, s4, s5\n"
                     "cmp lr, r6\n"
                     "bne 2b\n"
                     "vmov r8, lr, s0, s1\n"
                     "vmov r9, r10, s2, s3\n"
                     "strd r2, r3, [r9], #8\n"
                     "strd r4, r5, [r10], #8\n"
                     "vmov s2, s3, r9, r10\n"
                     "add r0, r0, r8\n"
                     "add r1, r1, r8\n"
                     "cmp r0, r7\n"
                     "bne 1b\n"
                     "pop {r4-r11, pc}\n");
}

/* Products of the panel x of two rows with `columns` rows of bytes. */
static void pair_dots_of_bytes(int32_t *line, const uint32_t *x, const tt_matrix *m,
                               const tt_head *head, int32_t columns) {
    const int32_t pairs = columns / 2;
    byte_run *run = (byte_run *)(void *)run_of(line, head);
    run->skip = 2 * m->stride - head->width;
    run->x = x;
    run->out0 = line;
    run->out1 = line + fours(head->T);
    run->x_end = x + panel_words(head->width);
    run->k0 = m->x;
    run->k1 = m->x + m->stride;
    run->k_end = m->x + 2 * pairs * m->stride;
    if (pairs > 0) {
        byte_products(run);
    }
    if (columns & 1) {
        run->out0 = line + columns - 1;
        run->out1 = run->out0 + fours(head->T);
        run->k0 = run->k1 = m->x + 2 * pairs * m->stride;
        run->k_end = run->k0 + 2 * m->stride;
        byte_products(run);
    }
}

/* Products of rows a and b with `columns` rows of m, and up to one behind them: two lines. */
static void pair_dots(int32_t *line, const int8_t *a, const int8_t *b, const tt_matrix *m,
                      const tt_head *head, int32_t columns) {
    const int32_t words = panel_words(head->width);
    uint32_t *x = (uint32_t *)line + line_bytes(head) / 4;
    tt_expand(x, a, b, head->width, 0);
    if (m->panel == NULL) {
        pair_dots_of_bytes(line, x, m, head, columns);
        return;
    }
    product_run *run = run_of(line, head);
    run->x = m->panel;
    run->x_end = run->x + (columns + 1) / 2 * words;
    run->skip = 0;
    run->w = x;
    run->w_end = x + words;
    run->out0 = line;
    run->out1 = line + fours(head->T);
    tt_products(run);
}

/* Whether EXCLUDED, a score, has the exponential 0 whatever the largest is. */
#define EXCLUDED (-(1 << 30))
static int excludes(tt_scaling scale) {
    return scale.shift > 32 && scale.shift <= 52 && scale.mult >= 1 << 30;
}

/* n scores -> exponentials, and zeros up to a multiple of 4. */
static tt_softmax exponentials_of_row(int32_t *row, int32_t n, tt_scaling scale) {
    const int32_t turns = fours(n) >> 2, shift = scale.shift - 32;
    for (int32_t j = n; j & 3; j++) {
        row[j] = EXCLUDED;
    }
    tt_softmax found;
    found.top = largest_score(row, turns);
    found.rec = (255u << 24) / exponentials_of(row, found.top, scale.mult, 1 << (shift - 1), shift,
                                               tt_exp16, turns);
    return found;
}

/* n probabilities of a row, and zeros up to a multiple of 4 and column end. */
static void probabilities_of_row(uint8_t *p, const int32_t *row, int32_t n, uint32_t rec,
                                 int32_t end) {
    const int32_t turns = (fours(n) <= end ? fours(n) : n) >> 2;
    if (turns > 0) {
        probabilities_of(p, row, rec, turns);
    }
    for (int32_t j = 4 * turns; j < end && j < fours(n); j++) {
        p[j] = (uint8_t)(((uint32_t)row[j] * rec + (1u << 23)) >> 24);
    }
}

void tt_probs_rows(uint8_t *p, int32_t stride, tt_softmax *sums, const int8_t *q,
                   const tt_matrix *k, const tt_head *head, int32_t i, int32_t n, tt_scaling scale,
                   tt_room room) {
    if (!in_pairs(k, head, room) || !excludes(scale)) {
        plain_probs_rows(p, stride, sums, q, k, head, i, n, scale, room);
        return;
    }
    int32_t *line = (int32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i += 2, p += 2 * stride) {
        const int32_t two = i + 1 < end;
        const int8_t *row = q + tt_head_at(head, i);
        pair_dots(line, row, two ? row + head->C : row, k, head, tt_head_columns(head, i + two));
        for (int32_t b = 0; b <= two; b++) {
            const int32_t columns = tt_head_columns(head, i + b);
            int32_t *scores = line + b * fours(head->T);
            const tt_softmax found = exponentials_of_row(scores, columns, scale);
            probabilities_of_row(p + b * stride, scores, columns, found.rec, head->T);
            if (sums != NULL) {
                sums[i + b] = found;
            }
        }
    }
}

void tt_probs_columns(uint8_t *p, int32_t stride, const tt_softmax *sums, const int8_t *q,
                      const tt_matrix *k, const tt_head *head, int32_t j, int32_t n,
                      tt_scaling scale, tt_room room) {
    plain_probs_columns(p, stride, sums, q, k, head, j, n, scale, room);
}

void tt_attend(int8_t *y, const int8_t *q, const tt_matrix *k, const tt_matrix *v,
               const tt_head *head, tt_scaling score, tt_scaling mix, tt_room room) {
    if (!in_pairs(k, head, room) || !excludes(score)) {
        plain_attend(y, q, k, v, head, score, mix, room);
        return;
    }
    const tt_room none = {NULL, 0};
    int32_t *line = (int32_t *)(void *)room.at;
    for (int32_t i = 0; i < head->T; i += 2) {
        const int32_t two = i + 1 < head->T, last = tt_head_columns(head, i + two);
        const int8_t *row = q + tt_head_at(head, i);
        int32_t *other = line + fours(head->T);
        pair_dots(line, row, two ? row + head->C : row, k, head, last);
        const int32_t n = tt_head_columns(head, i);
        const tt_softmax first = exponentials_of_row(line, n, score);
        const tt_softmax second = exponentials_of_row(other, last, score);
        if (!can_mix(v, head, mix)) { /* probabilities replace the first bytes of exponentials */
            probabilities_of_row((uint8_t *)line, line, n, first.rec, head->T);
            probabilities_of_row((uint8_t *)other, other, last, second.rec, head->T);
            tt_mix_rows(y, (uint8_t *)line, 4 * fours(head->T), v, head, i, 1 + two, mix, none);
            continue;
        }
        for (int32_t j = fours(n); j < fours(last); j++) {
            line[j] = 0;
        }
        probability_panel(line, other, first.rec, second.rec, fours(last) >> 2);
        tt_mix_pair(y + tt_head_at(head, i), two ? head->C : 0, (uint32_t *)line, v, head, last,
                    mix);
    }
}

/* Products d of n columns become gradients of the scores. Gives r and peak as score_gradients_of does,
 * for any n. */
TT_SMALL __attribute__((noinline)) static uint64_t some_gradients(int32_t *row, const uint8_t *p,
                                                                  int32_t n) {
    int32_t r = 0;
    uint32_t peak = 0;
    for (int32_t j = 0; j < n; j++) {
        r += p[j] * row[j];
    }
    for (int32_t j = 0; j < n; j++) {
        row[j] = p[j] * (row[j] + ((128 - r - row[j]) >> 8));
        peak |= (uint32_t)(row[j] ^ (row[j] >> 31));
    }
    return (uint64_t)peak << 32 | (uint32_t)r;
}

void tt_ds_rows(int8_t *ds, int32_t stride, int16_t *e, int32_t *r, const uint8_t *p,
                const tt_score_gradients *s, const tt_matrix *v, const tt_head *head, int32_t i,
                int32_t n, tt_room room) {
    if (!in_pairs(v, head, room)) {
        plain_ds_rows(ds, stride, e, r, p, s, v, head, i, n, room);
        return;
    }
    int32_t *line = (int32_t *)(void *)room.at;
    for (const int32_t end = i + n; i < end; i += 2) {
        const int32_t two = i + 1 < end;
        const int8_t *g = s->g + tt_head_at(head, i);
        pair_dots(line, g, two ? g + head->C : g, v, head, tt_head_columns(head, i + two));
        for (int32_t b = i; b <= i + two; b++, ds += stride, p += stride) {
            const int32_t columns = tt_head_columns(head, b);
            const int32_t padded = fours(columns) <= head->T ? fours(columns) : columns;
            int32_t *row = line + (b - i) * fours(head->T);
            const uint64_t found = padded & 3 ? some_gradients(row, p, columns)
                                              : score_gradients_of(row, p, padded >> 2);
            e[b] =
                tt_quantize_roughly(ds, row, padded, s->g_exp[b] + s->exp_add, s->key,
                                    tt_score_number(head, b, 0), (uint32_t)(found >> 32));
            if (r != NULL) {
                r[b] = (int32_t)(uint32_t)found;
            }
            for (int32_t j = padded; (j & 3) && j < head->T; j++) {
                ds[j] = 0;
            }
        }
    }
}

void tt_ds_columns(int8_t *ds, int32_t stride, const int16_t *e, const int32_t *r, const uint8_t *p,
                   const tt_score_gradients *s, const tt_matrix *v, const tt_head *head, int32_t j,
                   int32_t n, tt_room room) {
    plain_ds_columns(ds, stride, e, r, p, s, v, head, j, n, room);
}
