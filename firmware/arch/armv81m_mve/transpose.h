/* Matrices of int8 turned over, so that products over their rows can be made of dot products. */
#ifndef TT_TRANSPOSE_H
#define TT_TRANSPOSE_H

#include <arm_mve.h>

#define TRANSPOSE_REACH 9362 /* largest stride that an offset of 16 bits holds 7 times */

/* out[i * stride + at] = row[i], i < n: one row becomes a column. stride <= TRANSPOSE_REACH. */
static inline void put_column(int8_t *out, const int8_t *row, int32_t n, int32_t stride) {
    const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)stride);
    for (; n >= 8; n -= 8, row += 8, out += 8 * stride) {
        vstrbq_scatter_offset_s16(out, offsets, vldrbq_s16(row));
    }
    if (n > 0) {
        const mve_pred16_t rest = vctp16q((uint32_t)n);
        vstrbq_scatter_offset_p_s16(out, offsets, vldrbq_z_s16(row, rest), rest);
    }
}

/* out[t] = column[t * stride], t < n. stride <= TRANSPOSE_REACH. */
static inline void take_column(int8_t *out, const int8_t *column, int32_t n, int32_t stride) {
    const uint16x8_t offsets = vmulq_n_u16(vidupq_n_u16(0, 1), (uint16_t)stride);
    for (; n >= 8; n -= 8, column += 8 * stride, out += 8) {
        vstrbq_s16(out, vldrbq_gather_offset_s16(column, offsets));
    }
    if (n > 0) {
        const mve_pred16_t rest = vctp16q((uint32_t)n);
        vstrbq_p_s16(out, vldrbq_gather_offset_z_s16(column, offsets, rest), rest);
    }
}

#endif
