#include "tinytrain/tt_elementwise.h"

void tt_repeat_exponent_s16(int16_t *out, const int16_t *e, int32_t T) {
    for (int32_t t = 0; t < T; t++) {
        out[t] = e[0];
    }
}
