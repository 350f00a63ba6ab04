#include "small.h"

#include "tinytrain/tt_attention.h"

#include "attention_rows.h"

void tt_attention_probs_u8(uint8_t *p, const int8_t *q, const int8_t *k, void *scratch,
                           int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
                           int32_t mult, int32_t shift) {
    const tt_scaling scale = {mult, shift};
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        uint8_t *first = p + head.h * T * T;
        tt_room left = tt_room_before(scratch, room, 0);
        const tt_matrix rows = tt_matrix_rows(k, &head, &left);
        tt_probs_rows(first, T, NULL, q, &rows, &head, 0, T, scale, left);
        for (int32_t i = 0; causal && i < T; i++) {
            for (int32_t j = i + 1; j < T; j++) {
                first[i * T + j] = 0;
            }
        }
    }
}

void tt_attention_mix_s8(int8_t *y, const uint8_t *p, const int8_t *v, void *scratch, int32_t room,
                         int32_t T, int32_t C, int32_t H, int32_t causal, int32_t mult,
                         int32_t shift) {
    const tt_scaling scale = {mult, shift};
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        tt_room left = tt_room_before(scratch, room, 0);
        const tt_matrix columns = tt_matrix_columns(v + tt_head_at(&head, 0), C, &head, &left);
        tt_mix_rows(y, p + head.h * T * T, T, &columns, &head, 0, T, scale, left);
    }
}

void tt_attention_s8(int8_t *y, const int8_t *q, const int8_t *k, const int8_t *v, void *scratch,
                     int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
                     int32_t score_mult, int32_t score_shift, int32_t mix_mult, int32_t mix_shift) {
    const tt_scaling score = {score_mult, score_shift}, mix = {mix_mult, mix_shift};
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        tt_room left = tt_room_before(scratch, room, 0);
        const tt_matrix columns = tt_matrix_columns(v + tt_head_at(&head, 0), C, &head, &left);
        const tt_matrix rows = tt_matrix_rows(k, &head, &left);
        tt_attend(y, q, &rows, &columns, &head, score, mix, left);
    }
}
