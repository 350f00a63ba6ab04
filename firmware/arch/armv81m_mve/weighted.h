/* A sum of rows, for kernels that have no room to turn a matrix over: four products an instruction. */
#ifndef TT_WEIGHTED_H
#define TT_WEIGHTED_H

#include <arm_mve.h>

#include "products.h"

/* Rows of a matrix with C columns; rows NULL: one behind the other. */
typedef struct {
    const int8_t *w, *wt;
    const int16_t *rows;
    int32_t C;
} matrix;

/* acc[i .. i + 15] = sum_r g[r * stride] * row r over n rows. */
static inline void weighted_columns(int32_t *acc, const int8_t *g, int32_t stride, const matrix *m,
                                    int32_t n, int32_t i, int32_t split) {
    const int8_t *x = m->w + i;
    int32x4_t a = vdupq_n_s32(0), b = a, c = a, d = a;
    for (int32_t r = 0; r < n; r++, g += stride, x += m->C) {
        const int8_t *row = split ? weight_row(m->w, m->wt, m->rows, r, m->C) + i : x;
        const int32_t u = *g;
        a = vmlaq_n_s32(a, vldrbq_s32(row), u);
        b = vmlaq_n_s32(b, vldrbq_s32(row + 4), u);
        c = vmlaq_n_s32(c, vldrbq_s32(row + 8), u);
        d = vmlaq_n_s32(d, vldrbq_s32(row + 12), u);
    }
    vstrwq_s32(acc + i, a);
    vstrwq_s32(acc + i + 4, b);
    vstrwq_s32(acc + i + 8, c);
    vstrwq_s32(acc + i + 12, d);
}

/* acc[i] = sum_r g[r * stride] * row r [i] over n rows. */
static void weighted_rows(int32_t *acc, const int8_t *g, int32_t stride, const matrix *m,
                          int32_t n) {
    int32_t i = 0;
    for (; i + 16 <= m->C; i += 16) {
        if (m->rows != NULL && m->wt != NULL) {
            weighted_columns(acc, g, stride, m, n, i, 1);
        } else {
            weighted_columns(acc, g, stride, m, n, i, 0);
        }
    }
    for (; i < m->C; i += 4) {
        const mve_pred16_t here = vctp32q((uint32_t)(m->C - i));
        int32x4_t a = vdupq_n_s32(0);
        const int8_t *u = g;
        for (int32_t r = 0; r < n; r++, u += stride) {
            const int8_t *row = weight_row(m->w, m->wt, m->rows, r, m->C) + i;
            a = vmlaq_n_s32(a, vldrbq_z_s32(row, here), *u);
        }
        vstrwq_p_s32(acc + i, a, here);
    }
}

#endif
