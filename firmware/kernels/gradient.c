#include "tinytrain/tt_gradient.h"

void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t n) {
    for (int32_t i = 0; i < n; i += 8) {
        const int32_t end = n - i < 8 ? n - i : 8;
        uint32_t byte = 0;
        for (int32_t b = 0; b < end; b++) {
            byte |= (uint32_t)(tt_abs(y[i + b]) == 127) << b;
        }
        bits[i / 8] = (uint8_t)byte;
    }
}

void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        out[i] = (bits[i >> 3] >> (i & 7)) & 1 ? 0 : g[i];
    }
}

/* One operand of a sum: value * factor >> shift. */
typedef struct {
    const int8_t *at;
    int32_t factor;
    int32_t shift;
} operand;

static int all_zero(const int8_t *x, int32_t n) {
    int32_t any = 0;
    for (int32_t i = 0; i < n; i++) {
        any |= x[i];
    }
    return any == 0;
}

/* An operand brought down from exponent e to e + down; one that is all zero may have the larger. */
static operand aligned(const int8_t *at, int32_t factor, int32_t down) {
    const operand o = {at, down > 30 ? 0 : factor, down < 0 || down > 30 ? 0 : down};
    return o;
}

static inline int32_t sum_of(operand a, operand b, int32_t i) {
    return ((a.at[i] * a.factor) >> a.shift) + ((b.at[i] * b.factor) >> b.shift);
}

void tt_grad_add_s8(int8_t *out, int32_t *out_exp, const int8_t *a, const int32_t *a_exp,
                    const int8_t *b, const int32_t *b_exp, const tt_step *st, int32_t n,
                    int32_t rho_q14, int32_t rho_e, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    const int32_t ea = a_exp[0], eb = b_exp[0] + rho_e;
    const int no_a = all_zero(a, n), no_b = all_zero(b, n);
    int32_t e = ea > eb ? ea : eb;
    if (no_a != no_b) {
        e = no_a ? eb : ea;
    }
    const operand u = aligned(a, 1 << 14, e - ea), v = aligned(b, rho_q14, e - eb);
    int32_t peak = 0;
    for (int32_t i = 0; i < n; i++) {
        const int32_t acc = tt_abs(sum_of(u, v, i));
        peak = acc > peak ? acc : peak;
    }
    const int32_t shift = tt_gradient_shift(peak);
    for (int32_t i = 0; i < n; i++) {
        out[i] = tt_stochastic_shift(sum_of(u, v, i), shift, key, (uint32_t)i);
    }
    out_exp[0] = e - 14 + shift;
}
