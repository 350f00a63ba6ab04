#include "tinytrain/tt_elementwise.h"

#include "look_up.h"

void tt_lut_s8(int8_t *y, const int8_t *x, const int8_t *table, int32_t count) {
    tt_look_up(y, x, table, count);
}
