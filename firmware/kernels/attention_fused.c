/* The gradients of attention without a matrix [H,T,T]: one head at a time, one block of keys. */
#include "tinytrain/tt_attention_grad.h"

#include <stddef.h>

#include "attention_rows.h"

/* Arguments, random keys and scratch of a call; what is not wanted, or not needed, is NULL. */
typedef struct {
    tt_head head;
    const int8_t *g, *q, *k, *v;
    const int16_t *g_exp;
    int8_t *gk, *gv;
    int32_t keys, mult, shift;
    int32_t add_s, add_q, add_k, add_v;
    uint32_t key_s, key_q, key_k, key_k_rows, key_v;
    int32_t g_top;                  /* largest exponent of g */
    int32_t *line;                  /* [max(T,width)] scores, then their gradients, then products */
    tt_softmax *sum;                /* [T] of each row */
    int32_t *r;                     /* [T] sum_j p d of each row */
    int16_t *s_exp;                 /* [T] exponents of the rows of ds */
    int16_t *q_exp, *k_exp, *v_exp; /* [T,H] of the results before their heads are joined */
    uint8_t *row;                   /* [T] of p, then ds; a column of either */
    uint8_t *block;                 /* [T,keys] of p, then ds */
    int8_t *aligned;                /* [T,width] g with one exponent */
    int8_t *held_q, *held_v;        /* results, while what they may overwrite is still read */
} work;

/* Row i: p becomes ds; the gradient of the query. */
static void scores_row(const work *w, uint8_t *p, int32_t i) {
    const tt_head *head = &w->head;
    const int32_t at = tt_head_at(head, i), start = tt_head_at(head, 0);
    const int32_t n = tt_head_columns(head, i);
    int8_t *ds = (int8_t *)p;
    int32_t r;
    w->s_exp[i] = tt_ds_row(ds, w->line, &r, w->g + at, w->v + start, p, n, head,
                            w->g_exp[i] + w->add_s, w->key_s, tt_score_number(head, i, 0));
    if (w->r) {
        w->r[i] = r;
    }
    if (w->held_q) {
        w->q_exp[i * head->H + head->h] =
            tt_dq_row(w->held_q + i * head->width, w->line, ds, w->k + start, n, i, head,
                      w->s_exp[i] + w->add_q, w->key_q);
    }
}

/* Gradients of n values from key j on; the block holds p. */
static void value_gradients(const work *w, int32_t j, int32_t n) {
    const tt_head *head = &w->head;
    for (int32_t b = 0; b < n; b++) {
        w->v_exp[(j + b) * head->H + head->h] =
            tt_dv_row(w->held_v + b * head->width, w->line, w->row, w->block + b, w->keys,
                      w->aligned, j + b, head, w->g_top + w->add_v, w->key_v);
    }
}

/* Gradients of n keys from key j on; the block holds ds. */
static void key_gradients(const work *w, int32_t j, int32_t n) {
    const tt_head *head = &w->head;
    const int32_t top = tt_largest_exponent(w->s_exp, head->T);
    for (int32_t b = 0; b < n; b++) {
        w->k_exp[(j + b) * head->H + head->h] =
            tt_dk_row(w->gk + tt_head_at(head, j + b), w->line, w->row,
                      (const int8_t *)w->block + b, w->keys, w->s_exp, top,
                      w->q + tt_head_at(head, 0), j + b, head, w->add_k, w->key_k, w->key_k_rows);
    }
}

/* n rows of a head, held since row i could not be written yet. */
static void put(int8_t *out, const int8_t *held, const tt_head *head, int32_t i, int32_t n) {
    for (int32_t b = 0; b < n; b++) {
        int8_t *row = out + tt_head_at(head, i + b);
        for (int32_t c = 0; c < head->width; c++) {
            row[c] = held[b * head->width + c];
        }
    }
}

/* The block holds all keys: nothing is computed twice. */
static void head_at_once(const work *w) {
    const tt_head *head = &w->head;
    const int32_t T = head->T;
    for (int32_t i = 0; i < T; i++) {
        tt_probs_row(w->block + i * T, w->line, w->q + tt_head_at(head, i),
                     w->k + tt_head_at(head, 0), tt_head_columns(head, i), head, w->mult, w->shift);
    }
    if (w->gv) {
        value_gradients(w, 0, T);
    }
    if (w->s_exp) {
        for (int32_t i = 0; i < T; i++) {
            scores_row(w, w->block + i * T, i);
        }
    }
    if (w->gk) {
        key_gradients(w, 0, T);
    }
    if (w->gv) {
        put(w->gv, w->held_v, head, 0, T);
    }
}

/* Columns of row i in the block of n keys from key j on; below 1: none. */
static int32_t block_columns(const tt_head *head, int32_t i, int32_t j, int32_t n) {
    const int32_t left = tt_head_columns(head, i) - j;
    return left < n ? left : n;
}

static void probs_block(const work *w, int32_t j, int32_t n) {
    const tt_head *head = &w->head;
    for (int32_t i = 0; i < head->T; i++) {
        tt_probs_part(w->block + i * w->keys, w->line, w->q + tt_head_at(head, i),
                      w->k + tt_head_at(head, j), block_columns(head, i, j, n), head, w->mult,
                      w->shift, w->sum[i]);
    }
}

/* p of the block becomes ds. */
static void scores_block(const work *w, int32_t j, int32_t n) {
    const tt_head *head = &w->head;
    for (int32_t i = 0; i < head->T; i++) {
        const int32_t columns = block_columns(head, i, j, n);
        const int32_t none = w->s_exp[i] == TT_ZERO_EXPONENT;
        const int32_t shift = none ? 0 : w->s_exp[i] - w->g_exp[i] - w->add_s;
        uint8_t *p = w->block + i * w->keys;
        tt_row_dots(w->line, w->g + tt_head_at(head, i), w->v + tt_head_at(head, j), columns,
                    head->width, head->C);
        for (int32_t b = 0; b < columns; b++) {
            const int32_t acc = tt_score_gradient(p[b], w->line[b], w->r[i]);
            p[b] =
                (uint8_t)tt_stochastic_shift(acc, shift, w->key_s, tt_score_number(head, i, j + b));
        }
    }
}

/* First all rows, one after another, then each block of keys with its p and ds made again. */
static void head_by_keys(const work *w) {
    const tt_head *head = &w->head;
    for (int32_t i = 0; i < head->T; i++) {
        const tt_softmax sum =
            tt_probs_row(w->row, w->line, w->q + tt_head_at(head, i), w->k + tt_head_at(head, 0),
                         tt_head_columns(head, i), head, w->mult, w->shift);
        if (w->sum) {
            w->sum[i] = sum;
        }
        if (w->s_exp) {
            scores_row(w, w->row, i);
        }
    }
    for (int32_t j = 0; w->block && j < head->T; j += w->keys) {
        const int32_t n = head->T - j < w->keys ? head->T - j : w->keys;
        probs_block(w, j, n);
        if (w->gv) {
            value_gradients(w, j, n);
        }
        if (w->gk) {
            scores_block(w, j, n);
            key_gradients(w, j, n);
        }
        if (w->gv) {
            put(w->gv, w->held_v, head, j, n);
        }
    }
}

static void *carve(uint8_t **next, int32_t bytes) {
    void *at = bytes ? *next : NULL;
    *next += bytes;
    return at;
}

static void join(int8_t *out, int16_t *out_exp, const int16_t *e, tt_head *head, uint32_t key) {
    for (int32_t i = 0; i < head->T; i++) {
        out_exp[i] = tt_join_heads(out + i * head->C, e + i * head->H, i, head, key);
    }
}

void tt_attention_grad_s8(int8_t *gq, int16_t *gq_exp, int8_t *gk, int16_t *gk_exp, int8_t *gv,
                          int16_t *gv_exp, const int8_t *g, const int16_t *g_exp, const int8_t *q,
                          const int8_t *k, const int8_t *v, void *scratch, const tt_step *st,
                          int32_t T, int32_t C, int32_t H, int32_t causal, int32_t keys,
                          int32_t mult, int32_t shift, int32_t ds_exp_add, int32_t ds_stream,
                          int32_t dq_exp_add, int32_t dq_stream, int32_t dq_stream_heads,
                          int32_t dk_exp_add, int32_t dk_stream, int32_t dk_stream_heads,
                          int32_t dk_stream_rows, int32_t dv_exp_add, int32_t dv_stream,
                          int32_t dv_stream_heads, int32_t dv_stream_rows) {
    const int32_t width = C / H;
    const int32_t want_q = gq != NULL, want_k = gk != NULL, want_v = gv != NULL;
    const int32_t scores = want_q || want_k, columns = want_k || want_v;
    const int32_t at_once = columns && keys == T, again = columns && !at_once;
    uint8_t *next = scratch;
    work w = {
        .head = tt_head_of(T, C, H, causal),
        .g = g,
        .q = q,
        .k = k,
        .v = v,
        .g_exp = g_exp,
        .gk = gk,
        .gv = gv,
        .keys = keys,
        .mult = mult,
        .shift = shift,
        .add_s = ds_exp_add,
        .add_q = dq_exp_add,
        .add_k = dk_exp_add,
        .add_v = dv_exp_add,
        .key_s = tt_key(st, ds_stream),
        .key_q = tt_key(st, dq_stream),
        .key_k = tt_key(st, dk_stream),
        .key_k_rows = tt_key(st, dk_stream_rows),
        .key_v = tt_key(st, dv_stream),
        .g_top = tt_largest_exponent(g_exp, T),
    };
    w.line = carve(&next, 4 * (T > width ? T : width));
    w.sum = carve(&next, again * 8 * T);
    w.r = carve(&next, (again && want_k) * 4 * T);
    w.s_exp = carve(&next, scores * 2 * T);
    w.q_exp = carve(&next, want_q * 2 * T * H);
    w.k_exp = carve(&next, want_k * 2 * T * H);
    w.v_exp = carve(&next, want_v * 2 * T * H);
    w.row = carve(&next, T);
    w.aligned = carve(&next, want_v * T * width);
    w.held_q = carve(&next, want_q * T * width);
    w.held_v = carve(&next, want_v * keys * width);
    w.block = carve(&next, columns * T * keys);
    for (; w.head.h < H; w.head.h++) {
        if (want_v) {
            tt_align_head(w.aligned, g, g_exp, w.g_top, &w.head, tt_key(st, dv_stream_rows));
        }
        if (at_once) {
            head_at_once(&w);
        } else {
            head_by_keys(&w);
        }
        if (want_q) {
            put(gq, w.held_q, &w.head, 0, T);
        }
    }
    if (want_q) {
        join(gq, gq_exp, w.q_exp, &w.head, tt_key(st, dq_stream_heads));
    }
    if (want_k) {
        join(gk, gk_exp, w.k_exp, &w.head, tt_key(st, dk_stream_heads));
    }
    if (want_v) {
        join(gv, gv_exp, w.v_exp, &w.head, tt_key(st, dv_stream_heads));
    }
}
