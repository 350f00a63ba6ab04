#include "tinytrain/tt_attention.h"

#include "tinytrain/tt_tables.h"

/* out[j] = x . rows[j] for n rows of a matrix with C columns: four rows a pass over x. Past the
 * last row the last one is repeated, and its product not stored. */
static void row_dots(int32_t *restrict out, const int8_t *restrict x, const int8_t *restrict rows,
                     int32_t n, int32_t width, int32_t C) {
    for (int32_t j = 0; j < n; j += 4) {
        const int32_t left = n - j;
        const int8_t *restrict r0 = rows + j * C;
        const int8_t *restrict r1 = r0 + (left > 1 ? C : 0);
        const int8_t *restrict r2 = r1 + (left > 2 ? C : 0);
        const int8_t *restrict r3 = r2 + (left > 3 ? C : 0);
        int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
        for (int32_t c = 0; c < width; c++) {
            const int32_t u = x[c];
            a0 += u * r0[c];
            a1 += u * r1[c];
            a2 += u * r2[c];
            a3 += u * r3[c];
        }
        const int32_t acc[4] = {a0, a1, a2, a3};
        for (int32_t b = 0; b < 4 && b < left; b++) {
            out[j + b] = acc[b];
        }
    }
}

/* A column or a row of a [T,T] matrix as weights: uint8 (flip 0) or int8 (flip 128). */
typedef struct {
    const uint8_t *at;
    int32_t stride;
    int32_t flip;
} weights;

/* acc[0..3] = sum_s w[s] * x[s, 0..3] for n rows of a matrix with C columns; columns from width on
 * repeat the last one. */
static inline void weighted_columns(int32_t acc[4], weights w, const int8_t *restrict x,
                                    int32_t width, int32_t n, int32_t C) {
    const int32_t c1 = width > 1 ? 1 : 0, c2 = width > 2 ? 2 : c1, c3 = width > 3 ? 3 : c2;
    int32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;
    for (int32_t s = 0; s < n; s++) {
        const int32_t u = (w.at[s * w.stride] ^ w.flip) - w.flip;
        const int8_t *restrict row = x + s * C;
        a0 += u * row[0];
        a1 += u * row[c1];
        a2 += u * row[c2];
        a3 += u * row[c3];
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = a2;
    acc[3] = a3;
}

/* out[r,c] = sum_s w[r,s] * x[s,c] over one head of C/H columns; transposed: w[s,r]. causal: w is 0
 * above its diagonal and those terms are left out. */
static inline void head_product(int32_t *restrict out, const uint8_t *restrict w, int32_t flip,
                                const int8_t *restrict x, int32_t T, int32_t C, int32_t H,
                                int32_t causal, int32_t transposed) {
    const int32_t width = C / H;
    for (int32_t r = 0; r < T; r++) {
        const int32_t first = causal && transposed ? r : 0;
        const int32_t end = causal && !transposed ? r + 1 : T;
        const weights line = {transposed ? w + first * T + r : w + r * T + first,
                              transposed ? T : 1, flip};
        for (int32_t c = 0; c < width; c += 4) {
            int32_t acc[4];
            weighted_columns(acc, line, x + first * C + c, width - c, end - first, C);
            for (int32_t b = 0; b < 4 && c + b < width; b++) {
                out[r * C + c + b] = acc[b];
            }
        }
    }
}

void tt_attention_probs_u8(uint8_t *p, const int8_t *q, const int8_t *k, int32_t *scratch,
                           int32_t T, int32_t C, int32_t H, int32_t causal, int32_t mult,
                           int32_t shift) {
    const int32_t width = C / H;
    for (int32_t h = 0; h < H; h++) {
        for (int32_t i = 0; i < T; i++) {
            uint8_t *row = p + (h * T + i) * T;
            const int32_t n = causal ? i + 1 : T;
            row_dots(scratch, q + i * C + h * width, k + h * width, n, width, C);
            int32_t top = scratch[0];
            for (int32_t j = 1; j < n; j++) {
                top = scratch[j] > top ? scratch[j] : top;
            }
            uint32_t sum = 0;
            for (int32_t j = 0; j < n; j++) {
                const int32_t e = tt_exp16[tt_requantize(top - scratch[j], mult, shift, 255)];
                scratch[j] = e;
                sum += (uint32_t)e;
            }
            const uint32_t rec = (255u << 24) / sum;
            for (int32_t j = 0; j < n; j++) {
                row[j] = (uint8_t)(((uint32_t)scratch[j] * rec + (1u << 23)) >> 24);
            }
            for (int32_t j = n; j < T; j++) {
                row[j] = 0;
            }
        }
    }
}

void tt_attention_mix_s8(int8_t *y, const uint8_t *p, const int8_t *v, int32_t T, int32_t C,
                         int32_t H, int32_t causal, int32_t mult, int32_t shift) {
    const int32_t width = C / H;
    for (int32_t h = 0; h < H; h++) {
        for (int32_t i = 0; i < T; i++) {
            const weights line = {p + (h * T + i) * T, 1, 0};
            for (int32_t c = 0; c < width; c += 4) {
                int32_t acc[4];
                weighted_columns(acc, line, v + h * width + c, width - c, causal ? i + 1 : T, C);
                for (int32_t b = 0; b < 4 && c + b < width; b++) {
                    y[i * C + h * width + c + b] = (int8_t)tt_requantize(acc[b], mult, shift, 127);
                }
            }
        }
    }
}

void tt_attention_dv_s8(int8_t *gv, int32_t *gv_exp, const int8_t *g, const int32_t *g_exp,
                        const uint8_t *p, int32_t *scratch, const tt_step *st, int32_t T, int32_t C,
                        int32_t H, int32_t causal, int32_t exp_add, int32_t stream) {
    for (int32_t h = 0; h < H; h++) {
        const int32_t at = h * (C / H);
        head_product(scratch + at, p + h * T * T, 0, g + at, T, C, H, causal, 1);
    }
    const int32_t shift = tt_quantize_gradient(gv, scratch, T * C, tt_key(st, stream));
    gv_exp[0] = g_exp[0] + shift + exp_add;
}

/* One row, d in place: d[j] <- p[j] * ((255 d[j] - r + 128) >> 8), r = sum_j p[j] d[j]; gives the
 * largest absolute value. */
static int32_t softmax_backward(int32_t *restrict d, const uint8_t *restrict p, int32_t n) {
    int32_t r = 0, peak = 0;
    for (int32_t j = 0; j < n; j++) {
        r += p[j] * d[j];
    }
    for (int32_t j = 0; j < n; j++) {
        d[j] = p[j] * ((255 * d[j] - r + 128) >> 8);
        const int32_t a = tt_abs(d[j]);
        peak = a > peak ? a : peak;
    }
    return peak;
}

void tt_attention_ds_s8(int8_t *gs, int32_t *gs_exp, const int8_t *g, const int32_t *g_exp,
                        const int8_t *v, const uint8_t *p, int32_t *scratch, const tt_step *st,
                        int32_t T, int32_t C, int32_t H, int32_t causal, int32_t exp_add,
                        int32_t stream) {
    const int32_t width = C / H;
    const uint32_t key = tt_key(st, stream);
    for (int32_t h = 0; h < H; h++) {
        const int32_t head = h * T * T;
        int32_t peak = 0;
        for (int32_t i = 0; i < T; i++) {
            int32_t *d = scratch + i * T;
            const int32_t n = causal ? i + 1 : T;
            row_dots(d, g + i * C + h * width, v + h * width, n, width, C);
            const int32_t a = softmax_backward(d, p + head + i * T, n);
            peak = a > peak ? a : peak;
            for (int32_t j = n; j < T; j++) {
                d[j] = 0;
            }
        }
        const int32_t shift = tt_gradient_shift(peak);
        for (int32_t i = 0; i < T * T; i++) {
            gs[head + i] = tt_stochastic_shift(scratch[i], shift, key, (uint32_t)(head + i));
        }
        gs_exp[h] = g_exp[0] + shift + exp_add;
    }
}

/* Smallest shift that brings one head, width columns of [T,C], into int8; -1: it is all zero. */
static int32_t head_shift(const int32_t *acc, int32_t T, int32_t C, int32_t width) {
    int32_t peak = 0;
    for (int32_t i = 0; i < T; i++) {
        for (int32_t c = 0; c < width; c++) {
            const int32_t a = tt_abs(acc[i * C + c]);
            peak = a > peak ? a : peak;
        }
    }
    return peak ? tt_gradient_shift(peak) : -1;
}

/* dq or dk (transposed) from the gradient of the scores: one exponent for all heads. */
static void scores_gradient(int8_t *out, int32_t *out_exp, const int8_t *gs, const int32_t *gs_exp,
                            const int8_t *x, int32_t *scratch, const tt_step *st, int32_t T,
                            int32_t C, int32_t H, int32_t causal, int32_t exp_add, int32_t stream,
                            int32_t transposed) {
    const int32_t width = C / H;
    const uint32_t key = tt_key(st, stream);
    int32_t exponent = 0, widest = gs_exp[0], found = 0;
    for (int32_t h = 0; h < H; h++) {
        int32_t *acc = scratch + h * width;
        head_product(acc, (const uint8_t *)gs + h * T * T, 128, x + h * width, T, C, H, causal,
                     transposed);
        const int32_t shift = head_shift(acc, T, C, width);
        if (shift >= 0 && (!found || gs_exp[h] + shift > exponent)) {
            exponent = gs_exp[h] + shift;
            found = 1;
        }
        widest = gs_exp[h] > widest ? gs_exp[h] : widest;
    }
    exponent = found ? exponent : widest;
    for (int32_t h = 0; h < H; h++) {
        const int32_t wish = exponent - gs_exp[h];
        const int32_t shift = wish < 0 ? 0 : (wish > 31 ? 31 : wish); /* < 0: the head is zero */
        for (int32_t i = 0; i < T; i++) {
            for (int32_t c = h * width; c < (h + 1) * width; c++) {
                const int32_t at = i * C + c;
                out[at] = tt_stochastic_shift(scratch[at], shift, key, (uint32_t)at);
            }
        }
    }
    out_exp[0] = exponent + exp_add;
}

void tt_attention_dq_s8(int8_t *gq, int32_t *gq_exp, const int8_t *gs, const int32_t *gs_exp,
                        const int8_t *k, int32_t *scratch, const tt_step *st, int32_t T, int32_t C,
                        int32_t H, int32_t causal, int32_t exp_add, int32_t stream) {
    scores_gradient(gq, gq_exp, gs, gs_exp, k, scratch, st, T, C, H, causal, exp_add, stream, 0);
}

void tt_attention_dk_s8(int8_t *gk, int32_t *gk_exp, const int8_t *gs, const int32_t *gs_exp,
                        const int8_t *q, int32_t *scratch, const tt_step *st, int32_t T, int32_t C,
                        int32_t H, int32_t causal, int32_t exp_add, int32_t stream) {
    scores_gradient(gk, gk_exp, gs, gs_exp, q, scratch, st, T, C, H, causal, exp_add, stream, 1);
}
