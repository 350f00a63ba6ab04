#include "dsp.h"
#include "tinytrain/tt_elementwise.h"

/* Factors times 2^(16 - shift): the result is the upper half of the sum. */
static void add_tops(int8_t *y, const int8_t *a, const int8_t *b, int32_t count, int32_t ma,
                     int32_t mb) {
    int32_t bias = (127 << 16) + (1 << 15);
    __asm__("" : "+r"(bias)); /* in a register: one multiplication and addition */
    for (int32_t i = 0; i < count; i += 4) {
        const int32_t v0 = a[i] * ma + (b[i] * mb + bias);
        const int32_t v1 = a[i + 1] * ma + (b[i + 1] * mb + bias);
        const int32_t v2 = a[i + 2] * ma + (b[i + 2] * mb + bias);
        const int32_t v3 = a[i + 3] * ma + (b[i + 3] * mb + bias);
        dsp_store(y + i, dsp_codes(dsp_tops(v2, v0), dsp_tops(v3, v1)));
    }
}

void tt_add_s8(int8_t *y, const int8_t *a, const int8_t *b, int32_t count, int32_t ma, int32_t mb,
               int32_t shift) {
    int32_t i = 0;
    if (shift >= 8 && shift <= 16) {
        const int32_t unit = 1 << (16 - shift);
        i = count & ~3;
        add_tops(y, a, b, i, ma * unit, mb * unit);
    }
    const int32_t half = 1 << (shift - 1);
    for (; i < count; i++) {
        y[i] = (int8_t)tt_clamp((a[i] * ma + b[i] * mb + half) >> shift, 127);
    }
}
