#include "tinytrain/tt_gradient.h"

void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, y += C) {
        for (int32_t i = 0; i < C; i += 8) {
            const int32_t end = C - i < 8 ? C - i : 8;
            uint32_t byte = 0;
            for (int32_t b = 0; b < end; b++) {
                byte |= (uint32_t)(tt_abs(y[i + b]) == 127) << b;
            }
            *bits++ = (uint8_t)byte;
        }
    }
}

void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t T, int32_t C) {
    const int32_t row_bytes = (C + 7) / 8;
    for (int32_t t = 0; t < T; t++, out += C, g += C, bits += row_bytes) {
        for (int32_t i = 0; i < C; i++) {
            out[i] = (bits[i >> 3] >> (i & 7)) & 1 ? 0 : g[i];
        }
    }
}

/* One operand of a sum: value * factor >> shift. */
typedef struct {
    const int8_t *at;
    int32_t factor;
    int32_t shift;
} operand;

/* A row brought down by so many bits; over 30 leave nothing of it. */
static operand shifted(const int8_t *at, int32_t factor, int32_t down) {
    const operand o = {at, down > 30 ? 0 : factor, down > 30 ? 0 : down};
    return o;
}

static inline int32_t sum_of(operand a, operand b, int32_t i) {
    return ((a.at[i] * a.factor) >> a.shift) + ((b.at[i] * b.factor) >> b.shift);
}

void tt_grad_add_s8(int8_t *out, int16_t *out_exp, const int8_t *a, const int16_t *a_exp,
                    const int8_t *b, const int16_t *b_exp, const tt_step *st, int32_t T, int32_t C,
                    int32_t rho_q14, int32_t rho_e, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int32_t ea = a_exp[t], eb = b_exp[t] + rho_e, e = ea > eb ? ea : eb;
        const operand u = shifted(a + t * C, 1 << 14, e - ea);
        const operand v = shifted(b + t * C, rho_q14, e - eb);
        int32_t peak = 0;
        for (int32_t i = 0; i < C; i++) {
            const int32_t acc = tt_abs(sum_of(u, v, i));
            peak = acc > peak ? acc : peak;
        }
        const int32_t shift = tt_gradient_shift(peak);
        const uint32_t first = (uint32_t)((st->row + t) * C);
        for (int32_t i = 0; i < C; i++) {
            out[t * C + i] = tt_stochastic_shift(sum_of(u, v, i), shift, key, first + (uint32_t)i);
        }
        out_exp[t] = tt_row_exponent(peak, e - 14);
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
        for (int32_t i = t * C; i < (t + 1) * C; i++) {
            out[i] = tt_stochastic_shift(g[i], e - g_exp[t], key, (uint32_t)i);
        }
    }
    out_exp[0] = (int16_t)e;
}
