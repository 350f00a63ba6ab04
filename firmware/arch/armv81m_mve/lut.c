#include <arm_mve.h>

#include "tinytrain/tt_elementwise.h"

/* table[x + 128] of 16 elements. */
static inline int8x16_t looked_up(const int8_t *table, int8x16_t x) {
    const uint8x16_t at = veorq_u8(vreinterpretq_u8_s8(x), vdupq_n_u8(128));
    return vldrbq_gather_offset_s8(table, at);
}

void tt_lut_s8(int8_t *y, const int8_t *x, const int8_t *table, int32_t count) {
    for (; count >= 16; count -= 16, x += 16, y += 16) {
        vstrbq_s8(y, looked_up(table, vldrbq_s8(x)));
    }
    for (; count > 0; count--) {
        *y++ = table[*x++ + 128];
    }
}
