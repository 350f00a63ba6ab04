#include "tinytrain/tt_attention_grad.h"

#include "attention_rows.h"

void tt_attention_ds_s8(int8_t *gs, int16_t *gs_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *v, const uint8_t *p, int32_t *scratch, const tt_step *st,
                        int32_t T, int32_t C, int32_t H, int32_t causal, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        for (int32_t i = 0; i < T; i++) {
            const int32_t row = head.h * T + i, n = tt_head_columns(&head, i);
            int32_t r;
            gs_exp[row] = tt_ds_row(gs + row * T, scratch, &r, g + tt_head_at(&head, i),
                                    v + tt_head_at(&head, 0), p + row * T, n, &head,
                                    g_exp[i] + exp_add, key, tt_score_number(&head, i, 0));
            for (int32_t j = n; j < T; j++) {
                gs[row * T + j] = 0;
            }
        }
    }
}

void tt_attention_dq_s8(int8_t *gq, int16_t *gq_exp, const int8_t *gs, const int16_t *gs_exp,
                        const int8_t *k, void *scratch, const tt_step *st, int32_t T, int32_t C,
                        int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                        int32_t stream_heads) {
    const uint32_t key = tt_key(st, stream), key_heads = tt_key(st, stream_heads);
    int32_t *acc = scratch;
    int16_t *e = (int16_t *)(acc + C / H);
    tt_head head = tt_head_of(T, C, H, causal);
    for (int32_t i = 0; i < T; i++) {
        for (head.h = 0; head.h < H; head.h++) {
            const int32_t row = head.h * T + i;
            e[head.h] =
                tt_dq_row(gq + tt_head_at(&head, i), acc, gs + row * T, k + tt_head_at(&head, 0),
                          tt_head_columns(&head, i), i, &head, gs_exp[row] + exp_add, key);
        }
        gq_exp[i] = tt_join_heads(gq + i * C, e, i, &head, key_heads);
    }
}

void tt_attention_dk_s8(int8_t *gk, int16_t *gk_exp, const int8_t *gs, const int16_t *gs_exp,
                        const int8_t *q, void *scratch, const tt_step *st, int32_t T, int32_t C,
                        int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                        int32_t stream_heads, int32_t stream_rows) {
    const uint32_t key = tt_key(st, stream), key_heads = tt_key(st, stream_heads);
    const uint32_t key_rows = tt_key(st, stream_rows);
    int32_t *acc = scratch;
    int16_t *e = (int16_t *)(acc + C / H), *top = e + H;
    uint8_t *column = (uint8_t *)(top + H);
    tt_head head = tt_head_of(T, C, H, causal);
    for (int32_t h = 0; h < H; h++) {
        top[h] = tt_largest_exponent(gs_exp + h * T, T);
    }
    for (int32_t j = 0; j < T; j++) {
        for (head.h = 0; head.h < H; head.h++) {
            const int32_t h = head.h;
            e[h] = tt_dk_row(gk + tt_head_at(&head, j), acc, column, gs + h * T * T + j, T,
                             gs_exp + h * T, top[h], q + tt_head_at(&head, 0), j, &head, exp_add,
                             key, key_rows);
        }
        gk_exp[j] = tt_join_heads(gk + j * C, e, j, &head, key_heads);
    }
}

void tt_attention_dv_s8(int8_t *gv, int16_t *gv_exp, const int8_t *g, const int16_t *g_exp,
                        const uint8_t *p, void *scratch, const tt_step *st, int32_t T, int32_t C,
                        int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                        int32_t stream_heads, int32_t stream_rows) {
    const uint32_t key = tt_key(st, stream), key_heads = tt_key(st, stream_heads);
    const uint32_t key_rows = tt_key(st, stream_rows);
    const int32_t top = tt_largest_exponent(g_exp, T);
    int32_t *acc = scratch;
    int16_t *e = (int16_t *)(acc + C / H); /* [T,H] */
    int8_t *aligned = (int8_t *)(e + T * H);
    uint8_t *column = (uint8_t *)aligned + T * (C / H);
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        tt_align_head(aligned, g, g_exp, top, &head, key_rows);
        for (int32_t j = 0; j < T; j++) {
            e[j * H + head.h] =
                tt_dv_row(gv + tt_head_at(&head, j), acc, column, p + head.h * T * T + j, T,
                          aligned, j, &head, top + exp_add, key);
        }
    }
    for (int32_t j = 0; j < T; j++) {
        gv_exp[j] = tt_join_heads(gv + j * C, e + j * H, j, &head, key_heads);
    }
}
