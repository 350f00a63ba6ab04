#include "tinytrain/tt_elementwise.h"

#include "rows.h"

/* y[i] = table[x[i] + 128], n <= TT_CHUNK */
static inline void look_up(int8_t *y, const int8_t *x, const int8_t *table, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        y[i] = table[x[i] + 128];
    }
}

void tt_lut_s8(int8_t *y, const int8_t *x, const int8_t *table, int32_t count) {
    look_up(y, x, table, count);
}

typedef struct {
    const int8_t *g, *x, *slope;
} slopes;

static void slopes_of(int32_t *restrict acc, const void *row, int32_t at, int32_t n) {
    const slopes *s = row;
    int8_t slope[TT_CHUNK];
    look_up(slope, s->x + at, s->slope, n);
    for (int32_t i = 0; i < n; i++) {
        acc[i] = s->g[at + i] * slope[i];
    }
}

void tt_lut_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                  const int8_t *x, const int8_t *slope, const tt_step *st, int32_t T, int32_t C,
                  int32_t exp_add, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const slopes row = {g + t * C, x + t * C, slope};
        gx_exp[t] = tt_gradient_row(gx + t * C, C, g_exp[t] + exp_add, key,
                                    (uint32_t)((st->row + t) * C), slopes_of, &row);
    }
}

void tt_add_s8(int8_t *y, const int8_t *a, const int8_t *b, int32_t count, int32_t ma, int32_t mb,
               int32_t shift) {
    const int32_t half = 1 << (shift - 1);
    for (int32_t at = 0; at < count; at += TT_CHUNK) {
        const int32_t n = tt_least(count - at, TT_CHUNK);
        int8_t held[TT_CHUNK];
        for (int32_t i = 0; i < n; i++) {
            held[i] = (int8_t)tt_clamp((a[at + i] * ma + b[at + i] * mb + half) >> shift, 127);
        }
        memcpy(y + at, held, (size_t)n);
    }
}

void tt_affine_s8(int8_t *y, const int8_t *x, const int32_t *m, const int32_t *c, int32_t T,
                  int32_t C, int32_t shift) {
    const int32_t half = 1 << (shift - 1);
    for (int32_t t = 0; t < T; t++, y += C, x += C) {
        for (int32_t at = 0; at < C; at += TT_CHUNK) {
            const int32_t n = tt_least(C - at, TT_CHUNK);
            int8_t held[TT_CHUNK];
            for (int32_t i = 0; i < n; i++) {
                held[i] =
                    (int8_t)tt_clamp((x[at + i] * m[at + i] + c[at + i] + half) >> shift, 127);
            }
            memcpy(y + at, held, (size_t)n);
        }
    }
}

typedef struct {
    const int8_t *g;
    const int16_t *m;
} factors;

static void rescaled(int32_t *restrict acc, const void *row, int32_t at, int32_t n) {
    const factors *f = row;
    for (int32_t i = 0; i < n; i++) {
        acc[i] = f->g[at + i] * f->m[at + i];
    }
}

void tt_rescale_grad_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                        const int16_t *m, const tt_step *st, int32_t T, int32_t C, int32_t exp_add,
                        int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const factors row = {g + t * C, m};
        gx_exp[t] = tt_gradient_row(gx + t * C, C, g_exp[t] + exp_add, key,
                                    (uint32_t)((st->row + t) * C), rescaled, &row);
    }
}

void tt_repeat_exponent_s16(int16_t *out, const int16_t *e, int32_t T) {
    for (int32_t t = 0; t < T; t++) {
        out[t] = e[0];
    }
}
