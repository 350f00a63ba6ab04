#include "small.h"

#include "tinytrain/tt_gradient.h"

#include "sum_rows.h"
#include "tinytrain/tt_rows.h"

void tt_grad_add_s8(int8_t *out, int16_t *out_exp, const int8_t *a, const int16_t *a_exp,
                    const int8_t *b, const int16_t *b_exp, const tt_step *st, int32_t T, int32_t C,
                    int32_t rho_q14, int32_t rho_e, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int32_t ea = a_exp[t], eb = b_exp[t] + rho_e;
        const sum_row row = sum_row_of(a + t * C, b + t * C, rho_q14, eb - ea);
        out_exp[t] = tt_quantize_made(out + t * C, tt_make_sum, &row, C, (ea > eb ? ea : eb) - 14,
                                      key, (uint32_t)((st->row + t) * C));
    }
}
