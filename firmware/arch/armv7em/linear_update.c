#include "tinytrain/tt_update.h"

#include "columns.h"

#define PRODUCT (127 * 127)

/* Trained channels from o on, at most four; the last is repeated. Gives how many. */
static int32_t next_trained(int32_t at[4], const int16_t *rows, int32_t *o, int32_t O) {
    int32_t n = 0;
    for (; *o < O && n < 4; ++*o) {
        if (rows == NULL || rows[*o] >= 0) {
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
static void expand_channels(uint32_t *p, uint32_t *q, const int8_t *g, const int32_t at[4],
                            int32_t T, int32_t O) {
    int32_t t = 0;
    if (at[1] == at[0] + 1 && at[2] == at[0] + 2 && at[3] == at[0] + 3 && T >= 4) {
        t = T & ~3;
        transpose_rows(p, q, g + at[0], O, t / 4);
        p += t;
        q += t;
    }
    for (; t < T; t += 4, p += 4, q += 4) {
        uint32_t word[4] = {0, 0, 0, 0};
        for (int32_t r = 0; r < 4 && t + r < T; r++) {
            word[r] = gathered(g + (t + r) * O, at);
        }
        transpose(p, q, word[0], word[1], word[2], word[3]);
    }
}

/* Row r (0 or 1) of tiles as n sums behind each other. */
static void line_of(int32_t *out, const int32_t *acc, int32_t n) {
    for (int32_t i = 0; i + 1 < n; i += 2, acc += 4, out += 2) {
        out[0] = acc[0];
        out[1] = acc[1];
    }
    if (n & 1) {
        out[0] = acc[0];
    }
}

/* w - delta + noise of one weight, delta = clamp(sum * rate), in units of 2^-16. */
typedef struct {
    int32_t left, mult, shift, half, limit; /* delta = (sum << left) * mult, 32 + shift bits down */
} fast_rate;

static inline int32_t moved(int32_t w, int32_t sum, const fast_rate *r) {
    int32_t d;
    __asm__("smmla %0, %1, %2, %3" : "=r"(d) : "r"(sum << r->left), "r"(r->mult), "r"(r->half));
    d >>= r->shift;
    return w * 65536 - tt_clamp(d, r->limit);
}

static inline int8_t code_of(int32_t wide) {
    int32_t v;
    __asm__("ssat %0, #8, %1, asr #16" : "=r"(v) : "r"(wide));
    return (int8_t)(v < -127 ? -127 : v);
}

/* tt_weight_step_row of a row of tiles, where |sums| <= largest. Gives 0 where it does not serve:
 * for fractions, coefficients, odd C, and rates of 2^-33 or less, or much above 1. */
__attribute__((noinline)) static int step_tiles(tt_weight_step *s, int8_t *w, const int32_t *acc,
                                                int32_t C, int32_t largest) {
    const int32_t shift = s->rate.shift + 7; /* mult < 2^24 */
    const int32_t left = shift < 33 ? 33 - shift : 0;
    if ((C & 1) != 0 || shift > 62 || left > 8 || largest > INT32_MAX >> left) {
        return 0;
    }
    const int32_t down = shift + left - 32;
    const fast_rate rate = {left, s->rate.m << 7, down, 1 << (down - 1), s->limit};
    uint32_t number = s->key + ((uint32_t)s->count >> 1) * TT_GOLDEN;
    uint64_t squares = s->squares;
    w += s->count;
    for (const int8_t *end = w + C; w != end; w += 2, acc += 4, number += TT_GOLDEN) {
        const uint32_t random = tt_mix(number);
        const int32_t a = acc[0], b = acc[1];
        squares += (uint64_t)((int64_t)a * a);
        squares += (uint64_t)((int64_t)b * b);
        w[0] = code_of(moved(w[0], a, &rate) + (int32_t)(random & 0xFFFFu));
        w[1] = code_of(moved(w[1], b, &rate) + (int32_t)(random >> 16));
    }
    s->squares = squares;
    s->count += C;
    return 1;
}

/* Row after row, without panels. */
static void by_rows(tt_weight_step *s, int8_t *w, int8_t *fraction, const float *moment,
                    const int8_t *g, const int8_t *x, const float *coefs, const int16_t *rows,
                    int32_t *acc, int32_t T, int32_t C, int32_t O, int32_t per_channel) {
    for (int32_t o = 0; o < O; o++) {
        if (rows != NULL && rows[o] < 0) {
            continue;
        }
        for (int32_t i = 0; i < C; i++) {
            acc[i] = 0;
        }
        add_gradient_row(acc, g, x, T, C, O, o);
        const float *coef = moment != NULL ? NULL : coefs + (per_channel ? o : 0);
        tt_weight_step_row(s, w, fraction, acc, C, coef);
    }
}

void tt_linear_update_s8(int8_t *w, int8_t *fraction, float *moment, const int8_t *g,
                         const int16_t *g_exp, const int8_t *x, const float *coefs,
                         const int16_t *rows, int32_t *scratch, const tt_step *st, int32_t room,
                         int32_t T, int32_t C, int32_t O, int32_t per_channel, int32_t stream) {
    tt_weight_step s = tt_weight_step_begin(st, fraction, moment, g_exp[0], stream);
    const weight input = {x, NULL, NULL, C, T};
    const int32_t words = panel_words(T), wide = panel_words(C);
    const int32_t left = room / 4 - 2 * words - wide;
    int32_t block = wide, held = 4;
    if (wide / 2 * words + 4 * wide > left) {
        held = (left - left / 4) / (4 * wide) * 4;
        held = held < 4 ? 4 : (held < O ? held : (O + 3) / 4 * 4);
        block = left > held * wide ? (left - held * wide) / (2 * words) * 4 : 0;
        block = block < wide ? block : wide;
    }
    if (block < 4) {
        by_rows(&s, w, fraction, moment, g, x, coefs, rows, scratch, T, C, O, per_channel);
        tt_weight_step_end(&s, moment, st->beta);
        return;
    }
    int32_t *const line = scratch;
    uint32_t *const gp = (uint32_t *)(line + wide), *const xp = gp + 2 * words;
    int32_t *const acc = (int32_t *)(xp + block / 2 * words);
    const tile_function run_tiles = tile_s32(words);
    tile_run run = {.x = xp, .stride = 16};
    int whole = 0;
    for (int32_t begin = 0, end; begin < O; begin = end) {
        int32_t at[4];
        for (int32_t first = 0; first < wide; first += block) {
            const int32_t last = wide - first < block ? wide : first + block;
            if (!whole) {
                uint32_t *p = xp;
                for (int32_t i = first; i < last; i += 4, p += 2 * words) {
                    expand_columns(p, p + words, &input, i);
                }
                run.x_end = p;
                whole = block == wide;
            }
            end = begin;
            for (int32_t n = 0; n < held && next_trained(at, rows, &end, O) > 0; n += 4) {
                expand_channels(gp, gp + words, g, at, T, O);
                for (int32_t pair = 0; pair < 2; pair++) {
                    run.w = gp + pair * words;
                    run.w_end = run.w + words;
                    run.out = acc + (n + 2 * pair) * wide + 2 * first;
                    run_tiles(&run);
                }
            }
        }
        int32_t o = begin, count;
        for (int32_t n = 0; n < held && (count = next_trained(at, rows, &o, O)) > 0; n += 4) {
            for (int32_t r = 0; r < count; r++) {
                const int32_t *const sums = acc + (n + (r & 2)) * wide + 2 * (r & 1);
                if (fraction == NULL && moment != NULL && step_tiles(&s, w, sums, C, T * PRODUCT)) {
                    continue;
                }
                line_of(line, sums, C);
                const float *coef = moment != NULL ? NULL : coefs + (per_channel ? at[r] : 0);
                tt_weight_step_row(&s, w, fraction, line, C, coef);
            }
        }
    }
    tt_weight_step_end(&s, moment, st->beta);
}
