#include "tinytrain/tt_linear.h"

#include "products.h"

void tt_linear_packed_s8(int8_t *y, const int8_t *x, const int8_t *w, const int32_t *b,
                         const int32_t *mult, const int32_t *shift, int32_t *scratch, int32_t room,
                         int32_t C, int32_t O) {
    (void)scratch;
    (void)room;
    for (int32_t o = 0; o < O; o++) {
        const int8_t *at = w + (o & ~3) * C + 4 * (o & 3);
        int32_t sum = 0; /* 256 times what is wanted, after each two columns */
        for (int32_t i = 0; i < C; i += 4, at += 16) {
            for (int32_t c = 0; c < 4; c += 2) {
                const int32_t low = at[c], both = at[c + 1] * 256 + (uint8_t)at[c];
                sum += both * x[i + c + 1] + low * (256 * x[i + c] - x[i + c + 1]);
            }
        }
        y[o] = (int8_t)tt_requantize(with_bias(sum >> 8, b[o]), mult[0], shift[0], 127);
    }
}
