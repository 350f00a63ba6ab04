#pragma GCC optimize("Os") /* the loops are assembly */

#include "tinytrain/tt_update.h"

#include "gradient_rows.h"
#include "tile.h"

/* Trained channels from o on, at most four; the last is repeated. Gives how many. */
static int32_t next_trained(int32_t at[4], const int16_t *rows, int32_t *o, int32_t O) {
    int32_t n = 0;
    for (; *o < O && n < 4; ++*o) {
        if (trains(rows, *o)) {
            at[n++] = *o;
        }
    }
    for (int32_t i = n; i < 4 && n > 0; i++) {
        at[i] = at[n - 1];
    }
    return n;
}

static uint32_t gathered(const int8_t *row, const int32_t at[4]) {
    return (uint32_t)(uint8_t)row[at[0]] | (uint32_t)(uint8_t)row[at[1]] << 8 |
           (uint32_t)(uint8_t)row[at[2]] << 16 | (uint32_t)(uint8_t)row[at[3]] << 24;
}

/* Panels of columns at[0], at[1] and at[2], at[3] of g. */
static void expand_channels(uint32_t *p, int32_t words, const int8_t *g, const int32_t at[4],
                            int32_t T, int32_t O) {
    if (at[1] == at[0] + 1 && at[2] == at[0] + 2 && at[3] == at[0] + 3) {
        const weight columns = {g, NULL, NULL, O, T};
        tt_expand_columns(p, words, &columns, at[0], at[0] + 4);
        return;
    }
    for (int32_t t = 0; t < T; t += 4, p += 4) {
        const int8_t *const row = g + t * O;
        uint32_t word[4] = {0, 0, 0, 0};
        for (int32_t r = 0; r < 4 && t + r < T; r++) {
            word[r] = gathered(row + r * O, at);
        }
        transpose(p, p + words, word[0], word[1], word[2], word[3]);
    }
}

typedef struct {
    int8_t *w, *fraction;
    const int8_t *g;
    const float *coefs; /* NULL: the LSB-normalised step */
    const int16_t *rows;
    weight x; /* [T,C] */
    int32_t O, per_channel;
} step_arguments;

static inline const float *coef_of(const step_arguments *a, int32_t o) {
    const int32_t at = TT_USES_PER_CHANNEL && a->per_channel ? o : 0;
    return TT_USES_SGD && a->coefs != NULL ? a->coefs + at : NULL;
}

/* The step of `count` weights from column `first` of trained row k on. */
static void step_piece(tt_weight_step *s, int8_t *w, int8_t *fraction, const int32_t *acc,
                       int32_t k, int32_t first, int32_t count, int32_t C, const float *coef) {
    s->count = k * C + first;
    tt_weight_step_row(s, w, fraction, acc, count, coef);
}

/* Two channels at a time, without panels: the sums of half the columns of both, or of all of one. */
__attribute__((noinline)) static void by_bytes(tt_weight_step *s, const step_arguments *a,
                                               int32_t *acc) {
    const int32_t C = a->x.C, T = a->x.O, O = a->O, half = C < 8 ? C : C / 8 * 4;
    int32_t k = 0, at[2];
    for (int32_t o = 0, n = 0; o < O || n > 0; n = 0) {
        for (; o < O && n < (C < 8 ? 1 : 2); o++) {
            if (trains(a->rows, o)) {
                at[n++] = o;
            }
        }
        if (n == 0) {
            break;
        }
        for (int32_t first = 0, span; first < C; first += span) {
            span = n == 1 ? C : (C - first < half ? C - first : half);
            int32_t *const acc1 = acc + (n - 1) * span; /* of one channel: nothing is added */
            for (int32_t i = 0; i < n * span; i++) {
                acc[i] = 0;
            }
            for (int32_t t = 0; t < T; t += 2) {
                const int8_t *const g = a->g + t * O, *const x = a->x.w + t * C + first;
                const int32_t below = t + 1 < T ? 1 : 0;
                const uint32_t u = dsp_pair(g[at[0]], below ? g[O + at[0]] : 0);
                const uint32_t v = n == 1 ? 0 : dsp_pair(g[at[1]], below ? g[O + at[1]] : 0);
                tt_add_rows(acc, acc1, x, x + below * C, u, v, span);
            }
            for (int32_t r = 0; r < n; r++) {
                const float *coef = coef_of(a, at[r]);
                step_piece(s, a->w, a->fraction, acc + r * span, k + r, first, span, C, coef);
            }
        }
        k += n;
    }
    s->count = k * C;
}

/* `block` columns of x at a time, whose panels are held, by four channels of g at a time. */
__attribute__((noinline)) static void by_blocks(tt_weight_step *s, const step_arguments *a,
                                                uint32_t *scratch, int32_t block) {
    const int32_t C = a->x.C, T = a->x.O, words = panel_words(T), wide = panel_words(C);
    uint32_t *const gp = scratch, *const xp = gp + 2 * words;
    int32_t *const acc = (int32_t *)(xp + block / 2 * words);
    const tile_runner run_tiles = tt_tiles_s32(words);
    tile_run run = {.x = xp};
    int32_t k = 0;
    for (int32_t first = 0; first < wide; first += block) {
        const int32_t last = wide - first < block ? wide : first + block, span = last - first;
        const int32_t own = (last < C ? last : C) - first;
        run.x_end = tt_expand_columns(xp, words, &a->x, first, last);
        int32_t at[4], count, o = 0;
        k = 0;
        while ((count = next_trained(at, a->rows, &o, a->O)) > 0) {
            expand_channels(gp, words, a->g, at, T, a->O);
            for (int32_t pair = 0; pair < count; pair += 2) {
                const int32_t n = count - pair < 2 ? 1 : 2;
                set_words(&run, gp + pair / 2 * words, words);
                run.out0 = acc;
                run.out1 = acc + span;
                run_tiles(&run);
                if (coef_of(a, 0) == NULL && span == C) {
                    step_piece(s, a->w, a->fraction, acc, k, 0, n * C, C, NULL);
                } else {
                    for (int32_t r = 0; r < n; r++) {
                        const float *coef = coef_of(a, at[pair + r]);
                        step_piece(s, a->w, a->fraction, acc + r * span, k + r, first, own, C,
                                   coef);
                    }
                }
                k += n;
            }
        }
    }
    s->count = k * C;
}

void tt_linear_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                         const int16_t *g_exp, const int8_t *x, const float *coefs,
                         const int16_t *rows, int32_t *scratch, const tt_step *st, int32_t room,
                         int32_t T, int32_t C, int32_t O, int32_t per_channel, int32_t stream) {
    const step_arguments a = {
        w, fraction, g, moment != NULL ? NULL : coefs, rows, {x, NULL, NULL, C, T}, O, per_channel};
    tt_weight_step s = tt_weight_step_begin(st, fraction, moment, g_exp[0], stream);
    const int32_t words = panel_words(T), wide = panel_words(C);
    const int32_t left = room / 4 - 2 * words;
    const int32_t block = left > 0 ? left / (2 * words + 8) * 4 : 0;
    if (block >= 4) {
        by_blocks(&s, &a, (uint32_t *)scratch, block < wide ? block : wide);
    } else {
        by_bytes(&s, &a, scratch);
    }
    tt_weight_step_end(&s, moment, st->beta);
}
