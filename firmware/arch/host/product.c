#include "product.h"

#define ROWS 4
#define ODD_LIFT 0x800080u
#define LIFT (TT_PARTS == 1 ? 0x80808080u : ODD_LIFT) /* 128 four times, in parts */

static inline int32_t quads_of(int32_t depth) {
    return (depth + 3) / 4;
}

/* The quads are there: in the parts of tt_dot. */
static void part(tt_left *left, int32_t count) {
    uint32_t *restrict odd = left->quads[TT_PARTS - 1], *restrict all = left->quads[0];
    for (int32_t q = 0; q < count && TT_PARTS == 2; q++) {
        odd[q] = all[q] >> 8 & 0xFF00FFu;
        all[q] &= 0xFF00FFu;
    }
}

void tt_left_rows(tt_left *left, const void *a, int32_t stride, int32_t rows, int32_t depth,
                  int32_t lift) {
    const int32_t quads = quads_of(depth);
    left->row = quads;
    left->step = 1;
    left->lift = lift;
    const uint8_t *from = a;
    uint8_t *to = (uint8_t *)left->quads[0];
    for (int32_t r = 0; r < rows; r++, from += stride, to += 4 * quads) {
        int32_t k = 0;
        for (; k + 16 <= depth; k += 16) {
            memcpy(to + k, from + k, 16);
        }
        for (; k + 4 <= depth; k += 4) {
            memcpy(to + k, from + k, 4);
        }
        for (; k < 4 * quads; k++) {
            to[k] = k < depth ? from[k] : 0;
        }
    }
    for (int32_t q = 0; q < rows * quads; q++) {
        left->quads[0][q] ^= (uint32_t)lift * 0x01010101u;
    }
    part(left, rows * quads);
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
        interleave((uint8_t *)(left->quads[0] + k / 4 * rows), four, rows, lift);
    }
    part(left, quads_of(depth) * rows);
}

/* What the lift adds to the columns. */
static void sum_columns(tt_right *right, int32_t quads) {
    tt_ulanes first = {0}, second = {0};
    for (int32_t q = 0; q < quads; q++) {
        first = tt_dot(first, LIFT, ODD_LIFT, tt_signed_quads(&right->quads[q][0]));
        second = tt_dot(second, LIFT, ODD_LIFT, tt_signed_quads(&right->quads[q][1]));
    }
    right->lifted[0] = first;
    right->lifted[1] = second;
}

/* Four bytes of each of n <= 4 rows from `at` on become neighbours, for all quads. */
static inline void four_rows(uint32_t *to, const int8_t *const *b, int32_t n, int32_t depth) {
    int32_t k = 0;
#if TT_X86
    for (; n == 4 && k + 16 <= depth; k += 16, to += 4 * TT_BLOCK_COLUMNS) {
        __m128i r[4];
        for (int32_t i = 0; i < 4; i++) {
            r[i] = _mm_loadu_si128((const __m128i *)(const void *)(b[i] + k));
        }
        const __m128i p = _mm_unpacklo_epi32(r[0], r[1]), q = _mm_unpacklo_epi32(r[2], r[3]);
        const __m128i u = _mm_unpackhi_epi32(r[0], r[1]), v = _mm_unpackhi_epi32(r[2], r[3]);
        const __m128i four[4] = {_mm_unpacklo_epi64(p, q), _mm_unpackhi_epi64(p, q),
                                 _mm_unpacklo_epi64(u, v), _mm_unpackhi_epi64(u, v)};
        for (int32_t i = 0; i < 4; i++) {
            memcpy(to + i * TT_BLOCK_COLUMNS, four + i, sizeof four[i]);
        }
    }
#endif
    for (; k < depth; k += 4, to += TT_BLOCK_COLUMNS) {
        uint32_t quads[4] = {0};
        for (int32_t i = 0; i < n; i++) {
            memcpy(quads + i, b[i] + k, (size_t)tt_least(depth - k, 4));
        }
        memcpy(to, quads, sizeof quads);
    }
}

void tt_right_rows(tt_right *right, const int8_t *const *b, int32_t columns, int32_t depth) {
    uint32_t *to = (uint32_t *)right->quads;
    for (int32_t n = 0; n < TT_BLOCK_COLUMNS; n += 4) {
        const int32_t left = columns - n;
        four_rows(to + n, b + n, left < 0 ? 0 : tt_least(left, 4), depth);
    }
    sum_columns(right, quads_of(depth));
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
static inline __attribute__((always_inline)) void tile(int32_t *acc, int32_t stride, int32_t at,
                                                       const tt_left *left, const tt_right *right,
                                                       int32_t quads, const int32_t rows,
                                                       const int32_t wide) {
    const uint32_t *first = left->quads[0] + at, *second = left->quads[TT_PARTS - 1] + at;
    tt_ulanes sum[2 * ROWS][2];
    for (int32_t r = 0; r < rows; r++) {
        for (int32_t v = 0; v < wide; v++) {
            memcpy(&sum[r][v], acc + r * stride + v * TT_LANES, sizeof(tt_ulanes));
            sum[r][v] -= left->lift ? right->lifted[v] : (tt_ulanes){0};
        }
    }
    for (int32_t q = 0; q < quads; q++, first += left->step, second += left->step) {
        tt_quads b[2];
        for (int32_t v = 0; v < wide; v++) {
            b[v] = tt_signed_quads(&right->quads[q][v]);
        }
        for (int32_t r = 0; r < rows; r++) {
            for (int32_t v = 0; v < wide; v++) {
                sum[r][v] = tt_dot(sum[r][v], first[r * left->row], second[r * left->row], b[v]);
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
        tile(acc + r * stride, stride, r * left->row, left, right, quads, most, wide);
    }
    for (; r < rows; r++) {
        tile(acc + r * stride, stride, r * left->row, left, right, quads, 1, wide);
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
