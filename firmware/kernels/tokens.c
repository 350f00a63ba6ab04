#include "small.h"

#include "tinytrain/tt_tokens.h"

/* Four bytes at once; any type may lie there. */
typedef uint32_t __attribute__((may_alias)) word;

static void copy(int8_t *restrict to, const int8_t *restrict from, int32_t count) {
    int32_t i = 0;
    if ((((uintptr_t)to | (uintptr_t)from) & 3u) == 0) {
        TT_UNROLL
        for (; i + 3 < count; i += 4) {
            *(word *)(to + i) = *(const word *)(from + i);
        }
    }
    for (; i < count; i++) {
        to[i] = from[i];
    }
}

void tt_mean_tokens_s8(int8_t *y, const int8_t *x, int32_t T, int32_t C, int32_t mult,
                       int32_t shift) {
    int32_t i = 0;
    for (; i + 3 < C; i += 4, x += 4) {
        int32_t a = 0, b = 0, c = 0, d = 0;
        const int8_t *at = x;
        TT_UNROLL
        for (int32_t t = 0; t < T; t++, at += C) {
            a += at[0];
            b += at[1];
            c += at[2];
            d += at[3];
        }
        y[i] = (int8_t)tt_requantize(a, mult, shift, 127);
        y[i + 1] = (int8_t)tt_requantize(b, mult, shift, 127);
        y[i + 2] = (int8_t)tt_requantize(c, mult, shift, 127);
        y[i + 3] = (int8_t)tt_requantize(d, mult, shift, 127);
    }
    for (; i < C; i++, x++) {
        int32_t acc = 0;
        for (int32_t t = 0; t < T; t++) {
            acc += x[t * C];
        }
        y[i] = (int8_t)tt_requantize(acc, mult, shift, 127);
    }
}

void tt_broadcast_tokens_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                            int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++) {
        copy(gx + t * C, g, C);
        gx_exp[t] = g_exp[0];
    }
}

void tt_select_token_s8(int8_t *y, const int8_t *x, int32_t C, int32_t index) {
    copy(y, x + index * C, C);
}

void tt_scatter_token_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                         int32_t T, int32_t C, int32_t index) {
    for (int32_t i = 0; i < T * C; i++) {
        gx[i] = 0;
    }
    for (int32_t t = 0; t < T; t++) {
        gx_exp[t] = TT_ZERO_EXPONENT;
    }
    copy(gx + index * C, g, C);
    gx_exp[index] = g_exp[0];
}

void tt_embedding_s8(int8_t *y, const void *ids, const int8_t *table, int32_t T, int32_t C,
                     int32_t V, int32_t id_bytes) {
    for (int32_t t = 0; t < T; t++) {
        int32_t id = id_bytes == 1 ? ((const uint8_t *)ids)[t] : ((const uint16_t *)ids)[t];
        id = id < V ? id : V - 1;
        copy(y + t * C, table + id * C, C);
    }
}

void tt_permute_s8(int8_t *y, const int8_t *x, int32_t n0, int32_t n1, int32_t n2, int32_t n3,
                   int32_t a0, int32_t a1, int32_t a2, int32_t a3) {
    const int32_t sizes[4] = {n0, n1, n2, n3};
    const int32_t strides[4] = {n1 * n2 * n3, n2 * n3, n3, 1};
    for (int32_t i = 0; i < sizes[a0]; i++) {
        for (int32_t j = 0; j < sizes[a1]; j++) {
            for (int32_t k = 0; k < sizes[a2]; k++) {
                const int8_t *from = x + i * strides[a0] + j * strides[a1] + k * strides[a2];
                for (int32_t l = 0; l < sizes[a3]; l++) {
                    *y++ = from[l * strides[a3]];
                }
            }
        }
    }
}

static void requantize_rows(int8_t *y, const int8_t *x, int32_t count, int32_t m, int32_t shift) {
    const int32_t half = 1 << (shift - 1);
    TT_UNROLL
    for (int32_t i = 0; i < count; i++) {
        y[i] = (int8_t)tt_clamp((x[i] * m + half) >> shift, 127);
    }
}

void tt_concat_tokens_s8(int8_t *y, const int8_t *a, const int8_t *b, int32_t T1, int32_t T2,
                         int32_t C, int32_t ma, int32_t mb, int32_t shift) {
    requantize_rows(y, a, T1 * C, ma, shift);
    requantize_rows(y + T1 * C, b, T2 * C, mb, shift);
}

void tt_slice_tokens_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        int32_t C, int32_t first, int32_t count) {
    copy(gx, g + first * C, count * C);
    for (int32_t t = 0; t < count; t++) {
        gx_exp[t] = g_exp[first + t];
    }
}
