/* The gradients of attention without a matrix [H,T,T]: one head at a time, one block of keys. */
#include "tinytrain/tt_attention_grad.h"

#include <stddef.h>

#include "attention_rows.h"

/* Arguments, random keys and scratch of a call; what is not wanted, or not needed, is NULL. */
typedef struct {
    tt_head head;
    const int8_t *g, *q, *k, *v;
    int8_t *gk, *gv;
    int32_t keys, rows;
    tt_scaling scale;
    tt_score_gradients scores;
    int32_t add_q, add_k, add_v;
    uint32_t key_q, key_k, key_k_rows, key_v;
    int32_t g_top;                  /* largest exponent of g */
    tt_softmax *sum;                /* [T] of each row */
    int32_t *r;                     /* [T] sum_j p d of each row */
    int16_t *s_exp;                 /* [T] exponents of the rows of ds */
    int16_t *q_exp, *k_exp, *v_exp; /* [T,H] of the results before their heads are joined */
    uint8_t *row;                   /* [rows,T] of p, then ds; none if the block has all keys */
    uint8_t *block;                 /* [T,keys] of p, then ds */
    int8_t *aligned;                /* [T,width] g with one exponent */
    int8_t *held_q, *held_v;        /* results, while what they may overwrite is still read */
    tt_room room;                   /* int32 [max(T,width)] at least */
    int32_t before, behind; /* bytes of held_q before it; of aligned, then of held_v, behind it */
    uint32_t key_v_rows;
} work;

/* The room, and what lies round it and is not in use. */
static tt_room room_with(const work *w, int32_t before, int32_t behind) {
    const tt_room wide = {w->room.at - before, w->room.bytes + before + behind};
    return wide;
}

static void align_head(const work *w) {
    tt_align_head(w->aligned, w->scores.g, w->scores.g_exp, w->g_top, &w->head, w->key_v_rows);
}

/* Gradients of n values from key j on; the block holds p. */
__attribute__((always_inline)) static inline void value_gradients(const work *w, int32_t j,
                                                                  int32_t n, tt_room left) {
    const tt_head *head = &w->head;
    const int32_t H = head->H;
    const tt_result out = {w->held_v, head->width, w->v_exp + j * H + head->h, H, j, w->key_v};
    const tt_matrix x = tt_matrix_columns(w->aligned, head->width, head, &left);
    tt_column_sums(&out, w->block, w->keys, 0, w->g_top + w->add_v, &x, head, n, left);
}

/* Gradients of n keys from key j on; the block holds ds. */
__attribute__((always_inline)) static inline void key_gradients(const work *w, int32_t j, int32_t n,
                                                                tt_room left) {
    const tt_head *head = &w->head;
    const int32_t H = head->H, top = tt_largest_exponent(w->s_exp, head->T);
    int8_t *ds = (int8_t *)w->block;
    const tt_result out = {
        w->gk + tt_head_at(head, j), head->C, w->k_exp + j * H + head->h, H, j, w->key_k};
    const tt_matrix x = tt_matrix_columns(w->q + tt_head_at(head, 0), head->C, head, &left);
    tt_align_scores(ds, w->keys, ds, w->keys, w->s_exp, top, head, j, n, w->key_k_rows);
    tt_column_sums(&out, w->block, w->keys, 1, top + w->add_k, &x, head, n, left);
}

/* Gradients of n queries from query i on, their rows of ds the first at ds. */
__attribute__((always_inline)) static inline void query_gradients(const work *w, const uint8_t *ds,
                                                                  const tt_matrix *k, int32_t i,
                                                                  int32_t n, tt_room room) {
    const tt_head *head = &w->head;
    const int32_t H = head->H;
    const tt_result out = {
        w->held_q + i * head->width, head->width, w->q_exp + i * H + head->h, H, i, w->key_q};
    tt_row_sums(&out, (const int8_t *)ds, head->T, w->s_exp, w->add_q, k, head, n, room);
}

/* n rows of a head, held since row i could not be written yet. */
static void put(int8_t *out, const int8_t *held, const tt_head *head, int32_t i, int32_t n) {
    for (int32_t b = 0; b < n; b++) {
        tt_align_row(out + tt_head_at(head, i + b), held + b * head->width, head->width, 0, 0, 0);
    }
}

/* The block holds all keys: nothing is computed twice. */
__attribute__((always_inline)) static inline void head_at_once(const work *w) {
    const tt_head *head = &w->head;
    const int32_t T = head->T;
    tt_room left = room_with(w, w->before, 2 * w->behind);
    const tt_matrix k = tt_matrix_rows(w->k, head, &left);
    tt_probs_rows(w->block, T, NULL, w->q, &k, head, 0, T, w->scale, left);
    if (w->gv) {
        align_head(w);
        value_gradients(w, 0, T, room_with(w, w->before, 0));
    }
    if (w->s_exp) {
        left = room_with(w, w->before, w->behind);
        const tt_matrix v = tt_matrix_rows(w->v, head, &left);
        tt_ds_rows((int8_t *)w->block, T, w->s_exp, NULL, w->block, &w->scores, &v, head, 0, T,
                   left);
    }
    if (w->held_q) {
        left = room_with(w, 0, w->behind);
        const tt_matrix x = tt_matrix_columns(w->k + tt_head_at(head, 0), head->C, head, &left);
        query_gradients(w, w->block, &x, 0, T, left);
    }
    if (w->gk) {
        key_gradients(w, 0, T, room_with(w, 0, w->behind));
    }
    if (w->gv) {
        put(w->gv, w->held_v, head, 0, T);
    }
}

/* Softmax and gradients of the scores of all rows, one or two after another; gradients of queries. */
__attribute__((always_inline)) static inline void rows_of_head(const work *w) {
    const tt_head *head = &w->head;
    tt_room left = w->room;
    const tt_matrix k = tt_matrix_rows(w->k, head, &left), v = tt_matrix_rows(w->v, head, &left);
    const tt_matrix x = tt_matrix_columns(w->k + tt_head_at(head, 0), head->C, head, &left);
    for (int32_t i = 0; i < head->T; i += w->rows) {
        const int32_t n = head->T - i < w->rows ? head->T - i : w->rows;
        tt_probs_rows(w->row, head->T, w->sum, w->q, &k, head, i, n, w->scale, left);
        if (w->s_exp) {
            tt_ds_rows((int8_t *)w->row, head->T, w->s_exp, w->r, w->row, &w->scores, &v, head, i,
                       n, left);
        }
        if (w->held_q) {
            query_gradients(w, w->row, &x, i, n, left);
        }
    }
}

/* First all rows, then each block of keys with its p and ds made again. */
__attribute__((always_inline)) static inline void head_by_keys(const work *w) {
    const tt_head *head = &w->head;
    if (w->gv) {
        align_head(w);
    }
    rows_of_head(w);
    for (int32_t j = 0; w->block && j < head->T; j += w->keys) {
        const int32_t n = head->T - j < w->keys ? head->T - j : w->keys;
        tt_room left = w->room;
        const tt_matrix k = tt_matrix_rows(w->k, head, &left);
        tt_probs_columns(w->block, w->keys, w->sum, w->q, &k, head, j, n, w->scale, left);
        if (w->gv) {
            value_gradients(w, j, n, w->room);
        }
        if (w->gk) {
            left = w->room;
            const tt_matrix v = tt_matrix_rows(w->v, head, &left);
            tt_ds_columns((int8_t *)w->block, w->keys, w->s_exp, w->r, w->block, &w->scores, &v,
                          head, j, n, left);
            key_gradients(w, j, n, w->room);
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

TT_SMALL void tt_attention_grad_s8(
    int8_t *gq, int16_t *gq_exp, int8_t *gk, int16_t *gk_exp, int8_t *gv, int16_t *gv_exp,
    const int8_t *g, const int16_t *g_exp, const int8_t *q, const int8_t *k, const int8_t *v,
    void *scratch, const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
    int32_t keys, int32_t mult, int32_t shift, int32_t ds_exp_add, int32_t ds_stream,
    int32_t dq_exp_add, int32_t dq_stream, int32_t dq_stream_heads, int32_t dk_exp_add,
    int32_t dk_stream, int32_t dk_stream_heads, int32_t dk_stream_rows, int32_t dv_exp_add,
    int32_t dv_stream, int32_t dv_stream_heads, int32_t dv_stream_rows) {
    const int32_t width = C / H;
    const int32_t want_q = gq != NULL, want_k = gk != NULL, want_v = gv != NULL;
    const int32_t scores = want_q || want_k, columns = want_k || want_v;
    const int32_t at_once = columns && keys == T, again = columns && !at_once;
    work w = {
        .head = tt_head_of(T, C, H, causal),
        .g = g,
        .q = q,
        .k = k,
        .v = v,
        .gk = gk,
        .gv = gv,
        .keys = keys,
        .scale = {mult, shift},
        .scores = {g, g_exp, ds_exp_add, tt_key(st, ds_stream)},
        .add_q = dq_exp_add,
        .add_k = dk_exp_add,
        .add_v = dv_exp_add,
        .key_q = tt_key(st, dq_stream),
        .key_k = tt_key(st, dk_stream),
        .key_k_rows = tt_key(st, dk_stream_rows),
        .key_v = tt_key(st, dv_stream),
        .key_v_rows = tt_key(st, dv_stream_rows),
        .g_top = tt_largest_exponent(g_exp, T),
    };
    const int32_t words = again * 8 * T + (again && want_k) * 4 * T;
    const int32_t line = 4 * (T > width ? T : width), part = T * width;
    const int32_t exponents = 2 * T * (scores + H * (want_q + want_k + want_v));
    const int32_t kept =
        want_v * (part + keys * width) + want_q * part + columns * T * keys + exponents;
    const int32_t shared = at_once && part % 4 == 0;
    w.rows = at_once ? 0 : (room >= words + 4 * line + 2 * T + kept ? 2 : 1);
    w.before = shared * want_q * part;
    w.behind = shared * want_v * part;
    w.room = tt_room_before((uint8_t *)scratch + words + w.before, room - words - w.before,
                            kept - w.before + w.rows * T);
    uint8_t *next = scratch;
    w.sum = carve(&next, again * 8 * T);
    w.r = carve(&next, (again && want_k) * 4 * T);
    w.held_q = carve(&next, w.before);
    next = w.room.at + w.room.bytes;
    w.aligned = carve(&next, w.behind);
    w.held_v = carve(&next, w.behind);
    w.s_exp = carve(&next, scores * 2 * T);
    w.q_exp = carve(&next, want_q * 2 * T * H);
    w.k_exp = carve(&next, want_k * 2 * T * H);
    w.v_exp = carve(&next, want_v * 2 * T * H);
    if (!shared) {
        w.aligned = carve(&next, want_v * part);
        w.held_q = carve(&next, want_q * part);
        w.held_v = carve(&next, want_v * keys * width);
    }
    w.row = carve(&next, w.rows * T);
    w.block = carve(&next, columns * T * keys);
    for (; w.head.h < H; w.head.h++) {
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
