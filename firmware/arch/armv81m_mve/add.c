#include <arm_mve.h>

#include "tinytrain/tt_elementwise.h"

void tt_add_s8(int8_t *y, const int8_t *a, const int8_t *b, int32_t count, int32_t ma, int32_t mb,
               int32_t shift) {
    const int32x4_t most = vdupq_n_s32(127), least = vdupq_n_s32(-127);
    int32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const int32x4_t sum =
            vmlaq_n_s32(vmulq_n_s32(vldrbq_s32(a + i), ma), vldrbq_s32(b + i), mb);
        vstrbq_s32(y + i, vmaxq_s32(vminq_s32(vrshlq_n_s32(sum, -shift), most), least));
    }
    for (const int32_t half = 1 << (shift - 1); i < count; i++) {
        y[i] = (int8_t)tt_clamp((a[i] * ma + b[i] * mb + half) >> shift, 127);
    }
}
