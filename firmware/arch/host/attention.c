#include "tinytrain/tt_attention.h"

#include "attention_rows.h"
#include "fixed.h"
#include "heads.h"
#include "look_up.h"
#include "tinytrain/tt_tables.h"

/* n scores become probabilities; p may share the bytes of s. */
static void softmax(uint8_t *p, int32_t *s, int32_t n, int32_t mult, int32_t shift) {
    int32_t top = s[0];
    for (int32_t j = 1; j < n; j++) {
        top = s[j] > top ? s[j] : top;
    }
    for (int32_t j = 0; j < n; j++) {
        s[j] = top - s[j];
    }
    tt_scale_all(s, n, mult, shift, 255);
    uint32_t sum = 0;
    tt_look_up16(s, tt_exp16, n);
    for (int32_t j = 0; j < n; j++) {
        sum += (uint32_t)s[j];
    }
    const uint32_t rec = (255u << 24) / sum;
    for (int32_t j = 0; j < n; j++) {
        p[j] = (uint8_t)(((uint32_t)s[j] * rec + (1u << 23)) >> 24);
    }
}

void tt_attention_probs_u8(uint8_t *p, const int8_t *q, const int8_t *k, void *scratch,
                           int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
                           int32_t mult, int32_t shift) {
    (void)room;
    int32_t held[TT_HELD];
    const tt_rows_held block = tt_hold(held, scratch, T);
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        for (int32_t i = 0; i < T; i += block.rows) {
            const int32_t count = tt_least(T - i, block.rows);
            tt_head_dots(block.acc, q + tt_head_at(&head, i), k + tt_head_at(&head, 0), &head,
                         count, tt_head_columns(&head, i + count - 1));
            for (int32_t r = 0; r < count; r++) {
                uint8_t *row = p + (head.h * T + i + r) * T;
                const int32_t n = tt_head_columns(&head, i + r);
                softmax(row, block.acc + r * T, n, mult, shift);
                memset(row + n, 0, (size_t)(T - n));
            }
        }
    }
}

/* y[r,c] of `count` rows of a head from their probabilities, which have a row of T each. */
static void mix(int8_t *y, const uint8_t *p, const int8_t *v, const tt_head *head, int32_t count,
                int32_t n, int32_t mult, int32_t shift) {
    int32_t acc[TT_BLOCK_ROWS * TT_BLOCK_COLUMNS];
    for (int32_t c = 0; c < head->width; c += TT_BLOCK_COLUMNS) {
        const int32_t columns = tt_least(head->width - c, TT_BLOCK_COLUMNS);
        tt_head_sums(acc, p, 0, head->T, v + c, head->C, count, columns, n);
        tt_scale_all(acc, count * columns, mult, shift, 127);
        for (int32_t r = 0; r < count; r++) {
            for (int32_t b = 0; b < columns; b++) {
                y[r * head->C + c + b] = (int8_t)acc[r * columns + b];
            }
        }
    }
}

void tt_attention_mix_s8(int8_t *y, const uint8_t *p, const int8_t *v, void *scratch, int32_t room,
                         int32_t T, int32_t C, int32_t H, int32_t causal, int32_t mult,
                         int32_t shift) {
    (void)room;
    (void)scratch;
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        for (int32_t i = 0; i < T; i += TT_BLOCK_ROWS) {
            const int32_t count = tt_least(T - i, TT_BLOCK_ROWS);
            mix(y + tt_head_at(&head, i), p + (head.h * T + i) * T, v + tt_head_at(&head, 0), &head,
                count, tt_head_columns(&head, i + count - 1), mult, shift);
        }
    }
}

void tt_attention_s8(int8_t *y, const int8_t *q, const int8_t *k, const int8_t *v, void *scratch,
                     int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
                     int32_t score_mult, int32_t score_shift, int32_t mix_mult, int32_t mix_shift) {
    (void)room;
    int32_t held[TT_HELD];
    uint8_t probs[TT_HELD];
    const tt_rows_held block = tt_hold(held, scratch, T);
    uint8_t *p = block.acc == held ? probs : (uint8_t *)scratch;
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        for (int32_t i = 0; i < T; i += block.rows) {
            const int32_t count = tt_least(T - i, block.rows), at = tt_head_at(&head, i);
            const int32_t most = tt_head_columns(&head, i + count - 1);
            tt_head_dots(block.acc, q + at, k + tt_head_at(&head, 0), &head, count, most);
            for (int32_t r = 0; r < count; r++) {
                const int32_t n = tt_head_columns(&head, i + r);
                softmax(p + r * T, block.acc + r * T, n, score_mult, score_shift);
                memset(p + r * T + n, 0, (size_t)(T - n));
            }
            mix(y + at, p, v + tt_head_at(&head, 0), &head, count, most, mix_mult, mix_shift);
        }
    }
}
