#include "tinytrain/tt_gradient.h"

#include "tinytrain/tt_rows.h"

/* A sum of two: first * factor_1 + (second * factor_2 >> down). */
typedef struct {
    const int8_t *first, *second;
    int32_t factor_1, factor_2, down;
} sum_row;

static void make_sum(int32_t *restrict acc, const void *row, int32_t from, int32_t n) {
    const sum_row *r = (const sum_row *)row;
    const int8_t *a = r->first + from, *b = r->second + from;
    const int32_t p = r->factor_1, q = r->factor_2, down = r->down;
    TT_UNROLL
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
