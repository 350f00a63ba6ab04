#include "tinytrain/tt_attention.h"

#include "attention_rows.h"

void tt_attention_probs_u8(uint8_t *p, const int8_t *q, const int8_t *k, int32_t *scratch,
                           int32_t T, int32_t C, int32_t H, int32_t causal, int32_t mult,
                           int32_t shift) {
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        for (int32_t i = 0; i < T; i++) {
            uint8_t *row = p + (head.h * T + i) * T;
            const int32_t n = tt_head_columns(&head, i);
            tt_probs_row(row, scratch, q + tt_head_at(&head, i), k + tt_head_at(&head, 0), n, &head,
                         mult, shift);
            for (int32_t j = n; j < T; j++) {
                row[j] = 0;
            }
        }
    }
}

void tt_attention_mix_s8(int8_t *y, const uint8_t *p, const int8_t *v, int32_t T, int32_t C,
                         int32_t H, int32_t causal, int32_t mult, int32_t shift) {
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        for (int32_t i = 0; i < T; i++) {
            tt_mix_row(y + tt_head_at(&head, i), p + (head.h * T + i) * T, v + tt_head_at(&head, 0),
                       tt_head_columns(&head, i), &head, mult, shift);
        }
    }
}

void tt_attention_s8(int8_t *y, const int8_t *q, const int8_t *k, const int8_t *v, int32_t *scratch,
                     int32_t T, int32_t C, int32_t H, int32_t causal, int32_t score_mult,
                     int32_t score_shift, int32_t mix_mult, int32_t mix_shift) {
    uint8_t *p =
        (uint8_t *)scratch; /* a probability replaces the first byte of a score before it */
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        for (int32_t i = 0; i < T; i++) {
            const int32_t at = tt_head_at(&head, i), n = tt_head_columns(&head, i);
            tt_probs_row(p, scratch, q + at, k + tt_head_at(&head, 0), n, &head, score_mult,
                         score_shift);
            tt_mix_row(y + at, p, v + tt_head_at(&head, 0), n, &head, mix_mult, mix_shift);
        }
    }
}
