#include "product.h"

#define ROWS 4

static inline int32_t quads_of(int32_t depth) {
    return (depth + 3) / 4;
}

void tt_left_rows(tt_left *left, const void *a, int32_t stride, int32_t rows, int32_t depth,
                  int32_t lift) {
    const int32_t quads = quads_of(depth);
    left->row = quads;
    left->step = 1;
    left->lift = lift;
    for (int32_t r = 0; r < rows; r++) {
        const uint8_t *restrict from = (const uint8_t *)a + r * stride;
        uint8_t *restrict to = (uint8_t *)(left->quads + r * quads);
        for (int32_t k = 0; k < depth; k++) {
            to[k] = (uint8_t)(from[k] ^ lift);
        }
        for (int32_t k = depth; k < 4 * quads; k++) {
            to[k] = 0;
        }
    }
}

/* to[4 i + b] = rows[b][i] ^ lift */
static inline void interleave(uint8_t *restrict to, const uint8_t *const rows[4], int32_t n,
                              int32_t lift) {
    const uint8_t *restrict r0 = rows[0], *restrict r1 = rows[1];
    const uint8_t *restrict r2 = rows[2], *restrict r3 = rows[3];
    for (int32_t i = 0; i < n; i++) {
        to[4 * i] = (uint8_t)(r0[i] ^ lift);
        to[4 * i + 1] = (uint8_t)(r1[i] ^ lift);
        to[4 * i + 2] = (uint8_t)(r2[i] ^ lift);
        to[4 * i + 3] = (uint8_t)(r3[i] ^ lift);
    }
}

void tt_left_columns(tt_left *left, const void *a, int32_t stride, int32_t rows, int32_t depth,
                     int32_t lift) {
    static const uint8_t none[TT_BLOCK_ROWS];
    left->row = 1;
    left->step = rows;
    left->lift = lift;
    for (int32_t k = 0; k < depth; k += 4) {
        const uint8_t *four[4];
        for (int32_t b = 0; b < 4; b++) {
            four[b] = k + b < depth ? (const uint8_t *)a + (k + b) * stride : none;
        }
        interleave((uint8_t *)(left->quads + k / 4 * rows), four, rows, lift);
    }
}

/* What the lift adds to the columns. */
static void sum_columns(tt_right *right, int32_t quads) {
    tt_ulanes first = {0}, second = {0};
    for (int32_t q = 0; q < quads; q++) {
        first = tt_dot(first, 0x80808080u, tt_signed_quads(&right->quads[q][0]));
        second = tt_dot(second, 0x80808080u, tt_signed_quads(&right->quads[q][1]));
    }
    right->lifted[0] = first;
    right->lifted[1] = second;
}

void tt_right_rows(tt_right *right, const int8_t *const *b, int32_t columns, int32_t depth) {
    const int32_t quads = quads_of(depth), whole = depth / 4;
    uint32_t *to = (uint32_t *)right->quads;
    for (int32_t n = 0; n < TT_BLOCK_COLUMNS; n++) {
        if (n >= columns) {
            for (int32_t q = 0; q < quads; q++) {
                to[q * TT_BLOCK_COLUMNS + n] = 0;
            }
            continue;
        }
        for (int32_t q = 0; q < whole; q++) {
            memcpy(&to[q * TT_BLOCK_COLUMNS + n], b[n] + 4 * q, 4);
        }
        if (whole < quads) {
            to[whole * TT_BLOCK_COLUMNS + n] = 0;
            memcpy(&to[whole * TT_BLOCK_COLUMNS + n], b[n] + 4 * whole,
                   (size_t)(depth - 4 * whole));
        }
    }
    sum_columns(right, quads);
}

void tt_right_columns(tt_right *right, const int8_t *const *b, int32_t columns, int32_t depth) {
    static const uint8_t none[TT_BLOCK_COLUMNS];
    const int32_t quads = quads_of(depth);
    for (int32_t q = 0; q < quads; q++) {
        uint8_t *to = (uint8_t *)right->quads[q];
        const uint8_t *four[4];
        for (int32_t k = 0; k < 4; k++) {
            four[k] = 4 * q + k < depth ? (const uint8_t *)b[4 * q + k] : none;
        }
        if (columns == TT_BLOCK_COLUMNS) {
            interleave(to, four, TT_BLOCK_COLUMNS, 0);
        } else {
            interleave(to, four, columns, 0);
            memset(to + 4 * columns, 0, (size_t)(4 * (TT_BLOCK_COLUMNS - columns)));
        }
    }
    sum_columns(right, quads);
}

/* `rows` rows by `wide` vectors; both constants where it is inlined. */
static inline __attribute__((always_inline)) void tile(int32_t *acc, int32_t stride,
                                                       const uint32_t *a, const tt_left *left,
                                                       const tt_right *right, int32_t quads,
                                                       const int32_t rows, const int32_t wide) {
    tt_ulanes sum[2 * ROWS][2];
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t v = 0; v < wide; v++) {
            memcpy(&sum[r][v], acc + r * stride + v * TT_LANES, sizeof(tt_ulanes));
            sum[r][v] -= left->lift ? right->lifted[v] : (tt_ulanes){0};
        }
    }
    for (int32_t q = 0; q < quads; q++, a += left->step) {
        tt_quads b[2];
        for (int32_t v = 0; v < wide; v++) {
            b[v] = tt_signed_quads(&right->quads[q][v]);
        }
        for (int32_t r = 0; r < rows; r++) {
            for (int32_t v = 0; v < wide; v++) {
                sum[r][v] = tt_dot(sum[r][v], a[r * left->row], b[v]);
            }
        }
    }
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t v = 0; v < wide; v++) {
            memcpy(acc + r * stride + v * TT_LANES, &sum[r][v], sizeof(tt_ulanes));
        }
    }
}

static inline __attribute__((always_inline)) void product(int32_t *acc, int32_t stride,
                                                          const tt_left *left,
                                                          const tt_right *right, int32_t rows,
                                                          int32_t quads, const int32_t wide) {
    const int32_t most = 2 * ROWS / wide;
    int32_t r = 0;
    for (; r + most <= rows; r += most) {
        tile(acc + r * stride, stride, left->quads + r * left->row, left, right, quads, most, wide);
    }
    for (; r < rows; r++) {
        tile(acc + r * stride, stride, left->quads + r * left->row, left, right, quads, 1, wide);
    }
}

static void copy_block(int32_t *to, int32_t to_stride, const int32_t *from, int32_t from_stride,
                       int32_t rows, int32_t columns) {
    for (int32_t r = 0; r < rows; r++) {
        memcpy(to + r * to_stride, from + r * from_stride, (size_t)columns * sizeof *to);
    }
}

void tt_product(int32_t *acc, int32_t stride, const tt_left *left, const tt_right *right,
                int32_t rows, int32_t columns, int32_t depth) {
    const int32_t quads = quads_of(depth), wide = columns > TT_LANES ? 2 : 1;
    if (columns == TT_BLOCK_COLUMNS) {
        product(acc, stride, left, right, rows, quads, 2);
        return;
    }
    if (columns == TT_LANES) {
        product(acc, stride, left, right, rows, quads, 1);
        return;
    }
    int32_t whole[TT_BLOCK_ROWS * TT_BLOCK_COLUMNS];
    copy_block(whole, wide * TT_LANES, acc, stride, rows, columns);
    tt_product(whole, wide * TT_LANES, left, right, rows, wide * TT_LANES, depth);
    copy_block(acc, stride, whole, wide * TT_LANES, rows, columns);
}
