#include "tinytrain/tt_gradient.h"

#include "tinytrain/tt_rows.h"

/* 1 where |y| = 127, else 0. */
static inline uint32_t saturated(int32_t y) {
    return (uint32_t)(y * y + 255) >> 14;
}

void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, y += C) {
        int32_t i = 0;
        for (; i + 7 < C; i += 8) {
            const int8_t *p = y + i;
            *bits++ = (uint8_t)(saturated(p[0]) | saturated(p[1]) << 1 | saturated(p[2]) << 2 |
                                saturated(p[3]) << 3 | saturated(p[4]) << 4 | saturated(p[5]) << 5 |
                                saturated(p[6]) << 6 | saturated(p[7]) << 7);
        }
        if (i < C) {
            uint32_t byte = 0;
            for (int32_t b = 0; i + b < C; b++) {
                byte |= saturated(y[i + b]) << b;
            }
            *bits++ = (uint8_t)byte;
        }
    }
}

void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, out += C, g += C) {
        for (int32_t i = 0; i < C; i += 8) {
            const int32_t end = C - i < 8 ? C : i + 8;
            uint32_t byte = *bits++;
            for (int32_t j = i; j < end; j++, byte >>= 1) {
                out[j] = (int8_t)(g[j] & ((int32_t)(byte & 1u) - 1));
            }
        }
    }
}

/* A sum of two: first * factor_1 + (second * factor_2 >> down). */
typedef struct {
    const int8_t *first, *second;
    int32_t factor_1, factor_2, down;
} sum_row;

static void make_sum(int32_t *acc, const void *row, int32_t from, int32_t n) {
    const sum_row *r = (const sum_row *)row;
    const int8_t *a = r->first + from, *b = r->second + from;
    const int32_t p = r->factor_1, q = r->factor_2, down = r->down;
    for (int32_t i = 0; i < n; i++) {
        acc[i] = a[i] * p + ((b[i] * q) >> down);
    }
}

/* The one of the larger exponent first, the other brought down; over 30 bits leave nothing of it. */
static sum_row in_order(const int8_t *a, const int8_t *b, int32_t rho, int32_t down_a) {
    const sum_row r = down_a <= 0 ? (sum_row){a, b, 1 << 14, rho, -down_a}
                                  : (sum_row){b, a, rho, 1 << 14, down_a};
    return r.down > 30 ? (sum_row){r.first, r.second, r.factor_1, 0, 0} : r;
}

void tt_grad_add_s8(int8_t *out, int16_t *out_exp, const int8_t *a, const int16_t *a_exp,
                    const int8_t *b, const int16_t *b_exp, const tt_step *st, int32_t T, int32_t C,
                    int32_t rho_q14, int32_t rho_e, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int32_t ea = a_exp[t], eb = b_exp[t] + rho_e;
        const sum_row row = in_order(a + t * C, b + t * C, rho_q14, eb - ea);
        out_exp[t] = tt_quantize_made(out + t * C, make_sum, &row, C, (ea > eb ? ea : eb) - 14, key,
                                      (uint32_t)((st->row + t) * C));
    }
}

/* One row by shift with the numbers from first on. */
static void align_row(int8_t *out, const int8_t *g, int32_t n, int32_t shift, uint32_t key,
                      uint32_t first) {
    int32_t acc[TT_ROW_PART];
    for (int32_t at = 0; at < n; at += TT_ROW_PART) {
        const int32_t count = n - at < TT_ROW_PART ? n - at : TT_ROW_PART;
        for (int32_t i = 0; i < count; i++) {
            acc[i] = g[at + i];
        }
        tt_round_row(out + at, acc, count, shift, key, first + (uint32_t)at);
    }
}

void tt_align_grad_s8(int8_t *out, int16_t *out_exp, const int8_t *g, const int16_t *g_exp,
                      const tt_step *st, int32_t T, int32_t C, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    int32_t e = g_exp[0];
    for (int32_t t = 1; t < T; t++) {
        e = g_exp[t] > e ? g_exp[t] : e;
    }
    for (int32_t t = 0; t < T; t++) {
        align_row(out + t * C, g + t * C, C, e - g_exp[t], key, (uint32_t)(t * C));
    }
    out_exp[0] = (int16_t)e;
}
