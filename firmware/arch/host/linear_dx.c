#include "product.h"
#include "products.h"
#include "tinytrain/tt_linear.h"

void tt_linear_dx_s8(int8_t *gx, int16_t *gx_exp, const int8_t *g, const int16_t *g_exp,
                     const int8_t *w, const int8_t *wt, const int16_t *rows, int32_t *scratch,
                     const tt_step *st, int32_t room, int32_t T, int32_t C, int32_t O,
                     int32_t exp_add, int32_t stream) {
    (void)room;
    const uint32_t key = tt_key(st, stream);
    tt_left left;
    tt_right right;
    int32_t held[TT_HELD];
    int32_t *acc = C <= TT_HELD ? held : scratch;
    const int32_t most = C <= TT_HELD ? tt_least(TT_BLOCK_ROWS, TT_HELD / C) : 1;
    for (int32_t t = 0; t < T; t += most) {
        const int32_t count = tt_least(T - t, most);
        memset(acc, 0, (size_t)(count * C) * sizeof *acc);
        for (int32_t o = 0; o < O; o += TT_BLOCK_DEPTH) {
            const int32_t depth = tt_least(O - o, TT_BLOCK_DEPTH);
            const int8_t *list[TT_BLOCK_DEPTH];
            for (int32_t k = 0; k < depth; k++) {
                list[k] = weight_row(w, wt, rows, o + k, C);
            }
            tt_left_rows(&left, g + t * O + o, O, count, depth, 128);
            for (int32_t i = 0; i < C; i += TT_BLOCK_COLUMNS) {
                const int32_t n = tt_least(C - i, TT_BLOCK_COLUMNS);
                tt_right_columns(&right, list, n, depth);
                tt_product(acc + i, C, &left, &right, count, n, depth);
                for (int32_t k = 0; k < depth; k++) {
                    list[k] += n;
                }
            }
        }
        for (int32_t r = 0; r < count; r++) {
            gx_exp[t + r] = tt_quantize(gx + (t + r) * C, acc + r * C, C, g_exp[t + r] + exp_add,
                                        key, (uint32_t)((st->row + t + r) * C));
        }
    }
}
