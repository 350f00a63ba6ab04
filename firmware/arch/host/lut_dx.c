#include "chunks.h"
#include "look_up.h"
#include "tinytrain/tt_elementwise.h"

typedef struct {
    const int8_t *g, *x, *slope;
} lut_row;

static void make_lut(int32_t *restrict acc, const void *row, int32_t at, int32_t n) {
    const lut_row *r = row;
    const int8_t *restrict g = r->g + at;
    int8_t slope[TT_CHUNK];
    tt_look_up(slope, r->x + at, r->slope, n);
    for (int32_t i = 0; i < n; i++) {
        acc[i] = g[i] * slope[i];
    }
}

void tt_lut_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                  const int8_t *x, const int8_t *slope, const tt_step *st, int32_t T, int32_t C,
                  int32_t exp_add, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const lut_row row = {g + t * C, x + t * C, slope};
        gx_exp[t] = tt_gradient_row(gx + t * C, C, g_exp[t] + exp_add, key,
                                    (uint32_t)((st->row + t) * C), make_lut, &row);
    }
}
