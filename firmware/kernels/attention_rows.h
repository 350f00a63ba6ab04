/* What the attention kernels share: rows, or columns, of one head. Inside of the kernels only;
 * tinytrain/tt_attention.h has the meaning of the letters. Functions that take a room work in any
 * that has what the scratch of their kernel is said to be; results do not depend on it. */
#ifndef TT_ATTENTION_ROWS_H
#define TT_ATTENTION_ROWS_H

#include <stddef.h>

#include "tinytrain/tt_math.h"

/* A function without loops that matter: compiled for size, and with less stack. */
#define TT_SMALL __attribute__((cold))

/* Sizes, and the head h that is worked on: columns h*width .. (h+1)*width - 1 of matrices [T,C]. */
typedef struct {
    int32_t T, C, H, width, causal;
    int32_t h;
} tt_head;

static inline tt_head tt_head_of(int32_t T, int32_t C, int32_t H, int32_t causal) {
    const tt_head head = {T, C, H, C / H, causal, 0};
    return head;
}

/* Where row i of the head begins in a matrix [T,C]; also the number of its first element. */
static inline int32_t tt_head_at(const tt_head *head, int32_t i) {
    return i * head->C + head->h * head->width;
}

/* Columns that row i counts. */
static inline int32_t tt_head_columns(const tt_head *head, int32_t i) {
    return head->causal ? i + 1 : head->T;
}

/* Number of element [h,i,j] of a matrix [H,T,T]. */
static inline uint32_t tt_score_number(const tt_head *head, int32_t i, int32_t j) {
    const uint32_t T = (uint32_t)head->T;
    return ((uint32_t)head->h * T + (uint32_t)i) * T + (uint32_t)j;
}

/* Scratch that is not in use, at a multiple of 4. */
typedef struct {
    uint8_t *at;
    int32_t bytes;
} tt_room;

/* Scratch of a kernel less `bytes` at its end, which begin at a multiple of 2. */
static inline tt_room tt_room_before(void *scratch, int32_t room, int32_t bytes) {
    const tt_room left = {scratch, (room - bytes) & ~1};
    return left;
}

/* Bytes of a head of a matrix [T,C] as int16, rows and columns padded to multiples of 4. */
static inline int32_t tt_panel_bytes(const tt_head *head) {
    return 2 * ((head->T + 3) & ~3) * ((head->width + 3) & ~3);
}

/* A head of a matrix: element [i,c] is x[i * stride + c]. panel: what the arch made of it, or NULL;
 * held: how much. */
typedef struct {
    const int8_t *x;
    int32_t stride;
    void *panel;
    int32_t held;
} tt_matrix;

/* A head of a matrix [T,C], whose rows are to be multiplied. Takes room. */
tt_matrix tt_matrix_rows(const int8_t *x, const tt_head *head, tt_room *room);

/* A head, at x, of which rows are to be summed up. Takes room. */
tt_matrix tt_matrix_columns(const int8_t *x, int32_t stride, const tt_head *head, tt_room *room);

/* round-half-up(acc * mult * 2^-shift). */
typedef struct {
    int32_t mult, shift;
} tt_scaling;

/* The softmax of a row: its largest score, and 255 * 2^24 over the sum of its exponentials. */
typedef struct {
    int32_t top;
    uint32_t rec;
} tt_softmax;

/* acc[i,j] from p, d and r = sum_j p[j] * d[j]: see tt_attention_ds_s8. */
static inline int32_t tt_score_gradient(int32_t p, int32_t d, int32_t r) {
    return p * ((255 * d - r + 128) >> 8);
}

/* Largest of n exponents. */
static inline int16_t tt_largest_exponent(const int16_t *e, int32_t n) {
    int16_t top = e[0];
    for (int32_t i = 1; i < n; i++) {
        top = e[i] > top ? e[i] : top;
    }
    return top;
}

/* Gradients of the scores: g and its exponents, what is added to these, the random numbers. */
typedef struct {
    const int8_t *g;
    const int16_t *g_exp;
    int32_t exp_add;
    uint32_t key;
} tt_score_gradients;

/* Where rows of a gradient of one head go, and their exponents; the first row is number `row` of the
 * head. What they are worth before they are quantized: see the functions. */
typedef struct {
    int8_t *x;
    int32_t stride;
    int16_t *e;
    int32_t e_stride;
    int32_t row;
    uint32_t key;
} tt_result;

/* Below, p, ds and `block` are rows of T columns or fewer, `stride` bytes apart. Behind the last
 * column that a row counts nothing is read; up to the next multiple of 4, and below the stride,
 * zeros are written.
 *
 * Probabilities of rows i .. i + n - 1, the first at p. sums: NULL, or [T]. Room: int32 [T]. */
void tt_probs_rows(uint8_t *p, int32_t stride, tt_softmax *sums, const int8_t *q,
                   const tt_matrix *k, const tt_head *head, int32_t i, int32_t n, tt_scaling scale,
                   tt_room room);

/* Columns j .. j + n - 1 of all rows, whose softmax is known. Room: int32 [n]. */
void tt_probs_columns(uint8_t *p, int32_t stride, const tt_softmax *sums, const int8_t *q,
                      const tt_matrix *k, const tt_head *head, int32_t j, int32_t n,
                      tt_scaling scale, tt_room room);

/* Rows i .. i + n - 1 of y [T,C] from their probabilities, the first at p. */
void tt_mix_rows(int8_t *y, const uint8_t *p, int32_t stride, const tt_matrix *v,
                 const tt_head *head, int32_t i, int32_t n, tt_scaling scale, tt_room room);

/* All rows of a head of y, which may share the bytes of q. Room: int32 [T]. */
void tt_attend(int8_t *y, const int8_t *q, const tt_matrix *k, const tt_matrix *v,
               const tt_head *head, tt_scaling score, tt_scaling mix, tt_room room);

/* Gradients of the scores of rows i .. i + n - 1, the first at ds, which may share the bytes of p; their
 * exponents to e[i] .., and sum_j p d to r[i] .. if that is not NULL. Room: int32 [T]. */
void tt_ds_rows(int8_t *ds, int32_t stride, int16_t *e, int32_t *r, const uint8_t *p,
                const tt_score_gradients *s, const tt_matrix *v, const tt_head *head, int32_t i,
                int32_t n, tt_room room);

/* Columns j .. j + n - 1 of all rows, whose e and r are known. Room: int32 [n]. */
void tt_ds_columns(int8_t *ds, int32_t stride, const int16_t *e, const int32_t *r, const uint8_t *p,
                   const tt_score_gradients *s, const tt_matrix *v, const tt_head *head, int32_t j,
                   int32_t n, tt_room room);

/* Sums of the rows of x by the n rows of ds, each quantized: acc[c] = sum_j ds[i,j] * x[j,c], worth
 * 2^(s_exp[i] + exp_add), i from out.row on. Room: int32 [width]. */
void tt_row_sums(const tt_result *out, const int8_t *ds, int32_t stride, const int16_t *s_exp,
                 int32_t exp_add, const tt_matrix *x, const tt_head *head, int32_t n, tt_room room);

/* The same by n columns of a block, column out.row of the head the first: acc[c] = sum_i block[i,j] *
 * x[i,c], worth 2^base. The block is uint8, or the bytes of int8. Room: int32 [width]. */
void tt_column_sums(const tt_result *out, const uint8_t *block, int32_t stride, int32_t is_signed,
                    int32_t base, const tt_matrix *x, const tt_head *head, int32_t n, tt_room room);

/* n elements with shift >= 0 as tt_stochastic_shift; number `first` the first. out may be x. */
void tt_align_row(int8_t *out, const int8_t *x, int32_t n, int32_t shift, uint32_t key,
                  uint32_t first);

/* n columns of ds from j on, row i worth 2^e[i], brought to 2^top. out may be ds. */
void tt_align_scores(int8_t *out, int32_t out_stride, const int8_t *ds, int32_t stride,
                     const int16_t *e, int32_t top, const tt_head *head, int32_t j, int32_t n,
                     uint32_t key);

/* g brought to the exponent top, one head: out int8 [T,width]. */
void tt_align_head(int8_t *out, const int8_t *g, const int16_t *e, int32_t top, const tt_head *head,
                   uint32_t key);

/* The H heads of row i, all C columns, brought to their largest exponent, which it gives. */
int16_t tt_join_heads(int8_t *row, const int16_t *e, int32_t i, const tt_head *head, uint32_t key);

#endif
