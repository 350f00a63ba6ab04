/* What the attention kernels share: one row, or one column, of one head. Inside of the kernels only;
 * tinytrain/tt_attention.h has the meaning of the letters. */
#ifndef TT_ATTENTION_ROWS_H
#define TT_ATTENTION_ROWS_H

#include "tinytrain/tt_math.h"

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

/* out[j] = x . rows[j], n rows of `width` in a matrix with C columns. */
void tt_row_dots(int32_t *out, const int8_t *x, const int8_t *rows, int32_t n, int32_t width,
                 int32_t C);

/* Probabilities of n columns of row i, k its first one. scores: int32 [n]; p may share its bytes. */
tt_softmax tt_probs_row(uint8_t *p, int32_t *scores, const int8_t *q, const int8_t *k, int32_t n,
                        const tt_head *head, int32_t mult, int32_t shift);

/* The same of any n columns of a row whose softmax is known. */
void tt_probs_part(uint8_t *p, int32_t *scores, const int8_t *q, const int8_t *k, int32_t n,
                   const tt_head *head, int32_t mult, int32_t shift, tt_softmax known);

/* y[c] of one row of one head from n probabilities. */
void tt_mix_row(int8_t *y, const uint8_t *p, const int8_t *v, int32_t n, const tt_head *head,
                int32_t mult, int32_t shift);

/* Gradient of n scores, numbers first .. first + n - 1; base: exponent of g with exp_add. Gives the
 * exponent of the row, and r. d: int32 [n]. ds may share the bytes of p. */
int16_t tt_ds_row(int8_t *ds, int32_t *d, int32_t *r, const int8_t *g, const int8_t *v,
                  const uint8_t *p, int32_t n, const tt_head *head, int32_t base, uint32_t key,
                  uint32_t first);

/* Gradient of query i (one head) from n gradients of its scores, worth 2^base; gives its exponent.
 * acc: int32 [width]. */
int16_t tt_dq_row(int8_t *gq, int32_t *acc, const int8_t *ds, const int8_t *k, int32_t n, int32_t i,
                  const tt_head *head, int32_t base, uint32_t key);

/* Gradient of key j. ds: its column, elements `stride` apart, row i worth 2^e[i]; top: largest e.
 * acc: int32 [width]; column: [T]. */
int16_t tt_dk_row(int8_t *gk, int32_t *acc, uint8_t *column, const int8_t *ds, int32_t stride,
                  const int16_t *e, int32_t top, const int8_t *q, int32_t j, const tt_head *head,
                  int32_t exp_add, uint32_t key, uint32_t key_rows);

/* g brought to the exponent top, one head: out int8 [T,width]. */
void tt_align_head(int8_t *out, const int8_t *g, const int16_t *e, int32_t top, const tt_head *head,
                   uint32_t key_rows);

/* Gradient of value j from its column of p and the aligned g, which is worth 2^base.
 * acc: int32 [width]; column: [T]. */
int16_t tt_dv_row(int8_t *gv, int32_t *acc, uint8_t *column, const uint8_t *p, int32_t stride,
                  const int8_t *aligned, int32_t j, const tt_head *head, int32_t base,
                  uint32_t key);

/* The H heads of row i, all C columns, brought to their largest exponent, which it gives. */
int16_t tt_join_heads(int8_t *row, const int16_t *e, int32_t i, const tt_head *head,
                      uint32_t key_heads);

#endif
