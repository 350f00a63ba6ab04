#include "tinytrain/tt_attention_grad.h"

#include "attention_rows.h"
#include "heads.h"

void tt_attention_ds_s8(int8_t *gs, int16_t *gs_exp, const int8_t *g, const int16_t *g_exp,
                        const int8_t *v, const uint8_t *p, void *scratch, const tt_step *st,
                        int32_t room, int32_t T, int32_t C, int32_t H, int32_t causal,
                        int32_t exp_add, int32_t stream) {
    (void)room;
    const uint32_t key = tt_key(st, stream);
    int32_t held[TT_HELD];
    const tt_rows_held block = tt_hold(held, scratch, T);
    tt_head head = tt_head_of(T, C, H, causal);
    for (; head.h < H; head.h++) {
        for (int32_t i = 0; i < T; i += block.rows) {
            const int32_t count = tt_least(T - i, block.rows);
            tt_head_dots(block.acc, g + tt_head_at(&head, i), v + tt_head_at(&head, 0), &head,
                         count, tt_head_columns(&head, i + count - 1));
            for (int32_t r = 0; r < count; r++) {
                const int32_t row = head.h * T + i + r, n = tt_head_columns(&head, i + r);
                const uint8_t *restrict pr = p + row * T;
                int32_t *restrict d = block.acc + r * T;
                int32_t sum = 0;
                for (int32_t j = 0; j < n; j++) {
                    sum += pr[j] * d[j];
                }
                for (int32_t j = 0; j < n; j++) {
                    d[j] = tt_score_gradient(pr[j], d[j], sum);
                }
                gs_exp[row] = tt_quantize(gs + row * T, d, n, g_exp[i + r] + exp_add, key,
                                          tt_score_number(&head, i + r, 0));
                memset(gs + row * T + n, 0, (size_t)(T - n));
            }
        }
    }
}

/* The heads of a row, each worth 2^e[h], brought to their largest exponent, which it gives. */
static int16_t join(int8_t *row, const int16_t *e, int32_t i, const tt_head *head, uint32_t key) {
    const int16_t top = tt_largest_exponent(e, head->H);
    for (int32_t h = 0; h < head->H; h++) {
        const int32_t c = h * head->width;
        if (e[h] != top) {
            tt_shift_codes(row + c, row + c, head->width, top - e[h], key,
                           (uint32_t)(i * head->C + c));
        }
    }
    return top;
}

/* How many rows of accumulators and of exponents are made at a time. */
typedef struct {
    int32_t *acc;
    int16_t *e;
    int32_t rows;
} rows_made;

static rows_made make_rows(int32_t *held, int16_t *few, void *scratch, int32_t width, int32_t H) {
    const tt_rows_held block = tt_hold(held, scratch, width);
    const rows_made some = {block.acc, few, block.rows};
    const rows_made one = {block.acc, (int16_t *)((int32_t *)scratch + width), 1};
    return H <= TT_FEW_HEADS ? some : one;
}

void tt_attention_dq_s8(int8_t *gq, int16_t *gq_exp, const int8_t *gs, const int16_t *gs_exp,
                        const int8_t *k, void *scratch, const tt_step *st, int32_t room, int32_t T,
                        int32_t C, int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                        int32_t stream_heads) {
    (void)room;
    const uint32_t key = tt_key(st, stream), key_heads = tt_key(st, stream_heads);
    int32_t held[TT_HELD];
    int16_t few[TT_BLOCK_ROWS * TT_FEW_HEADS];
    tt_head head = tt_head_of(T, C, H, causal);
    const int32_t width = head.width;
    const rows_made block = make_rows(held, few, scratch, width, H);
    for (int32_t i = 0; i < T; i += block.rows) {
        const int32_t count = tt_least(T - i, block.rows);
        for (head.h = 0; head.h < H; head.h++) {
            const int32_t row = head.h * T + i;
            tt_head_sums(block.acc, gs + row * T, 128, T, k + tt_head_at(&head, 0), C, count, width,
                         tt_head_columns(&head, i + count - 1));
            for (int32_t r = 0; r < count; r++) {
                const int32_t at = tt_head_at(&head, i + r);
                block.e[r * H + head.h] = tt_quantize(gq + at, block.acc + r * width, width,
                                                      gs_exp[row + r] + exp_add, key, (uint32_t)at);
            }
        }
        for (int32_t r = 0; r < count; r++) {
            gq_exp[i + r] = join(gq + (i + r) * C, block.e + r * H, i + r, &head, key_heads);
        }
    }
}

/* acc[r,c] = sum_i a[i * stride + r] * b[i * b_stride + c] for i in [0, n); adds to what is there.
 * n <= TT_BLOCK_DEPTH. lift: 128 for int8 a, 0 for uint8. */
static void add_columns(int32_t *acc, const void *a, int32_t lift, int32_t stride, const int8_t *b,
                        int32_t b_stride, int32_t count, int32_t width, int32_t n) {
    tt_left left;
    tt_right right;
    tt_left_columns(&left, a, stride, count, n, lift);
    for (int32_t c = 0; c < width; c += TT_BLOCK_COLUMNS) {
        const int32_t some = tt_least(width - c, TT_BLOCK_COLUMNS);
        const int8_t *list[TT_BLOCK_DEPTH];
        tt_row_list(list, b + c, b_stride, n);
        tt_right_columns(&right, list, some, n);
        tt_product(acc + c, width, &left, &right, count, some, n);
    }
}

void tt_attention_dk_s8(int8_t *gk, int16_t *gk_exp, const int8_t *gs, const int16_t *gs_exp,
                        const int8_t *q, void *scratch, const tt_step *st, int32_t room, int32_t T,
                        int32_t C, int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                        int32_t stream_heads, int32_t stream_rows) {
    (void)room;
    const uint32_t key = tt_key(st, stream), key_heads = tt_key(st, stream_heads);
    const uint32_t key_rows = tt_key(st, stream_rows);
    int32_t held[TT_HELD];
    int16_t few[TT_BLOCK_ROWS * TT_FEW_HEADS];
    int8_t aligned[TT_BLOCK_DEPTH * TT_BLOCK_ROWS];
    tt_head head = tt_head_of(T, C, H, causal);
    const int32_t width = head.width;
    const rows_made block = make_rows(held, few, scratch, width, H);
    for (int32_t j = 0; j < T; j += block.rows) {
        const int32_t count = tt_least(T - j, block.rows);
        for (head.h = 0; head.h < H; head.h++) {
            const int16_t *e = gs_exp + head.h * T;
            const int16_t top = tt_largest_exponent(e, T);
            memset(block.acc, 0, (size_t)(count * width) * sizeof *block.acc);
            for (int32_t i = causal ? j : 0; i < T; i += TT_BLOCK_DEPTH) {
                const int32_t n = tt_least(T - i, TT_BLOCK_DEPTH);
                for (int32_t r = 0; r < n; r++) {
                    tt_shift_codes(aligned + r * count, gs + (head.h * T + i + r) * T + j, count,
                                   top - e[i + r], key_rows, tt_score_number(&head, i + r, j));
                }
                add_columns(block.acc, aligned, 128, count, q + tt_head_at(&head, i), C, count,
                            width, n);
            }
            for (int32_t r = 0; r < count; r++) {
                const int32_t at = tt_head_at(&head, j + r);
                block.e[r * H + head.h] = tt_quantize(gk + at, block.acc + r * width, width,
                                                      top + exp_add, key, (uint32_t)at);
            }
        }
        for (int32_t r = 0; r < count; r++) {
            gk_exp[j + r] = join(gk + (j + r) * C, block.e + r * H, j + r, &head, key_heads);
        }
    }
}

void tt_attention_dv_s8(int8_t *gv, int16_t *gv_exp, const int8_t *g, const int16_t *g_exp,
                        const uint8_t *p, void *scratch, const tt_step *st, int32_t room, int32_t T,
                        int32_t C, int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                        int32_t stream_heads, int32_t stream_rows) {
    (void)room;
    const uint32_t key = tt_key(st, stream), key_heads = tt_key(st, stream_heads);
    const uint32_t key_rows = tt_key(st, stream_rows);
    const int32_t top = tt_largest_exponent(g_exp, T);
    int32_t held[TT_HELD];
    tt_head head = tt_head_of(T, C, H, causal);
    const int32_t width = head.width;
    const tt_rows_held block = tt_hold(held, scratch, width);
    int16_t *e = (int16_t *)((int32_t *)scratch + width); /* [T,H] */
    int8_t *aligned = (int8_t *)(e + T * H);              /* [T,width] */
    for (; head.h < H; head.h++) {
        for (int32_t i = 0; i < T; i++) {
            const int32_t at = tt_head_at(&head, i);
            tt_shift_codes(aligned + i * width, g + at, width, top - g_exp[i], key_rows,
                           (uint32_t)at);
        }
        for (int32_t j = 0; j < T; j += block.rows) {
            const int32_t count = tt_least(T - j, block.rows);
            memset(block.acc, 0, (size_t)(count * width) * sizeof *block.acc);
            for (int32_t i = causal ? j : 0; i < T; i += TT_BLOCK_DEPTH) {
                add_columns(block.acc, p + (head.h * T + i) * T + j, 0, T, aligned + i * width,
                            width, count, width, tt_least(T - i, TT_BLOCK_DEPTH));
            }
            for (int32_t r = 0; r < count; r++) {
                const int32_t at = tt_head_at(&head, j + r);
                e[(j + r) * H + head.h] = tt_quantize(gv + at, block.acc + r * width, width,
                                                      top + exp_add, key, (uint32_t)at);
            }
        }
    }
    for (int32_t j = 0; j < T; j++) {
        gv_exp[j] = join(gv + j * C, e + j * H, j, &head, key_heads);
    }
}
