#include "small.h"

#include "tinytrain/tt_attention_grad.h"

#include "attention_rows.h"

TT_SMALL void tt_attention_ds_s8(int8_t *gs, int16_t *gs_exp, const int8_t *g, const int16_t *g_exp,
                                 const int8_t *v, const uint8_t *p, void *scratch,
                                 const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t H,
                                 int32_t causal, int32_t exp_add, int32_t stream) {
    const tt_score_gradients s = {g, g_exp, exp_add, tt_key(st, stream)};
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        int8_t *first = gs + head.h * T * T;
        tt_room left = tt_room_before(scratch, room, 0);
        const tt_matrix rows = tt_matrix_rows(v, &head, &left);
        tt_ds_rows(first, T, gs_exp + head.h * T, NULL, p + head.h * T * T, &s, &rows, &head, 0, T,
                   left);
        for (int32_t i = 0; causal && i < T; i++) {
            for (int32_t j = i + 1; j < T; j++) {
                first[i * T + j] = 0;
            }
        }
    }
}

/* Rows whose exponents [rows,H] fit behind a row of accumulators and a panel: all, or one. */
static int32_t rows_at_once(const tt_head *head, int32_t room) {
    const int32_t all = 4 * head->width + tt_panel_bytes(head) + 2 * head->T * head->H;
    return room >= all ? head->T : 1;
}

TT_SMALL void tt_attention_dq_s8(int8_t *gq, int16_t *gq_exp, const int8_t *gs,
                                 const int16_t *gs_exp, const int8_t *k, void *scratch,
                                 const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t H,
                                 int32_t causal, int32_t exp_add, int32_t stream,
                                 int32_t stream_heads) {
    const uint32_t key = tt_key(st, stream), key_heads = tt_key(st, stream_heads);
    tt_head head = tt_head_of(T, C, H, causal);
    const int32_t n = rows_at_once(&head, room);
    const tt_room all = tt_room_before(scratch, room, 2 * n * H);
    int16_t *e = (int16_t *)(void *)(all.at + all.bytes); /* [n,H] */
    for (int32_t i = 0; i < T; i += n) {
        for (head.h = 0; head.h < H; head.h++) {
            tt_room left = all;
            const tt_result out = {gq + tt_head_at(&head, i), C, e + head.h, H, i, key};
            const tt_matrix x = tt_matrix_columns(k + tt_head_at(&head, 0), C, &head, &left);
            tt_row_sums(&out, gs + (head.h * T + i) * T, T, gs_exp + head.h * T, exp_add, &x, &head,
                        n, left);
        }
        for (int32_t b = 0; b < n; b++) {
            gq_exp[i + b] = tt_join_heads(gq + (i + b) * C, e + b * H, i + b, &head, key_heads);
        }
    }
}

/* Columns of ds that fit, brought to one exponent, behind a row of accumulators and a panel. */
static int32_t columns_at_once(const tt_head *head, int32_t room) {
    const int32_t T = head->T, H = head->H;
    const int32_t left = room - 4 * head->width - 2 * H - tt_panel_bytes(head);
    const int32_t n = left / (T + 2 * H);
    return n >= T ? T : (n >= 4 ? n & ~3 : 1);
}

TT_SMALL void tt_attention_dk_s8(int8_t *gk, int16_t *gk_exp, const int8_t *gs,
                                 const int16_t *gs_exp, const int8_t *q, void *scratch,
                                 const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t H,
                                 int32_t causal, int32_t exp_add, int32_t stream,
                                 int32_t stream_heads, int32_t stream_rows) {
    const uint32_t key = tt_key(st, stream), key_heads = tt_key(st, stream_heads);
    const uint32_t key_rows = tt_key(st, stream_rows);
    tt_head head = tt_head_of(T, C, H, causal);
    const int32_t most = columns_at_once(&head, room);
    const tt_room all = tt_room_before(scratch, room, 2 * most * H + 2 * H + T * most);
    int16_t *e = (int16_t *)(void *)(all.at + all.bytes), *top = e + most * H; /* [most,H], [H] */
    int8_t *block = (int8_t *)(top + H);                                       /* [T,most] */
    for (int32_t h = 0; h < H; h++) {
        top[h] = tt_largest_exponent(gs_exp + h * T, T);
    }
    for (int32_t j = 0; j < T; j += most) {
        const int32_t n = T - j < most ? T - j : most;
        for (head.h = 0; head.h < H; head.h++) {
            const int32_t h = head.h;
            tt_room left = all;
            const tt_result out = {gk + tt_head_at(&head, j), C, e + h, H, j, key};
            const tt_matrix x = tt_matrix_columns(q + tt_head_at(&head, 0), C, &head, &left);
            tt_align_scores(block, most, gs + h * T * T + j, T, gs_exp + h * T, top[h], &head, j, n,
                            key_rows);
            tt_column_sums(&out, (const uint8_t *)block, most, 1, top[h] + exp_add, &x, &head, n,
                           left);
        }
        for (int32_t b = 0; b < n; b++) {
            gk_exp[j + b] = tt_join_heads(gk + (j + b) * C, e + b * H, j + b, &head, key_heads);
        }
    }
}

TT_SMALL void tt_attention_dv_s8(int8_t *gv, int16_t *gv_exp, const int8_t *g, const int16_t *g_exp,
                                 const uint8_t *p, void *scratch, const tt_step *st, int32_t room,
                                 int32_t T, int32_t C, int32_t H, int32_t causal, int32_t exp_add,
                                 int32_t stream, int32_t stream_heads, int32_t stream_rows) {
    const uint32_t key = tt_key(st, stream), key_heads = tt_key(st, stream_heads);
    const uint32_t key_rows = tt_key(st, stream_rows);
    const int32_t top = tt_largest_exponent(g_exp, T), width = C / H;
    const tt_room all = tt_room_before(scratch, room, 2 * T * H + T * width);
    int16_t *e = (int16_t *)(void *)(all.at + all.bytes); /* [T,H] */
    int8_t *aligned = (int8_t *)(e + T * H);
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        tt_room left = all;
        const tt_result out = {gv + tt_head_at(&head, 0), C, e + head.h, H, 0, key};
        tt_align_head(aligned, g, g_exp, top, &head, key_rows);
        const tt_matrix x = tt_matrix_columns(aligned, width, &head, &left);
        tt_column_sums(&out, p + head.h * T * T, T, 0, top + exp_add, &x, &head, T, left);
    }
    for (int32_t j = 0; j < T; j++) {
        gv_exp[j] = tt_join_heads(gv + j * C, e + j * H, j, &head, key_heads);
    }
}
