/* Products of panels, two rows by two columns: two loads of four words feed eight SMLAD. */
#ifndef TT_TILE_H
#define TT_TILE_H

#include "panel.h"

/* What a run over pairs of rows reads from registers of the FPU; the order is that of the code. */
typedef struct {
    int32_t bias[2];
    const uint32_t *w_end;
    int32_t more; /* steps of four columns behind the first */
    const uint32_t *w, *x_end;
    int32_t mult[2];
    union {
        int32_t stride; /* of int8: bytes between rows */
        int32_t *out1;  /* of int32: sums of column 1 */
    };
    union {
        int8_t *out;
        int32_t *out0;
    };
    uint32_t ones, half; /* 0x01010101, 0x7F8000 */
    const uint32_t *x;
} tile_run;

/* Panels of so many words. */
static inline void set_words(tile_run *run, const uint32_t *w, int32_t words) {
    run->w = w;
    run->w_end = w + words;
    run->more = words / 4 - 1;
}

/* What runs over panels of so many words. */
typedef void (*tile_runner)(const tile_run *run);

/* y[t,o], y[t,o+1] of both rows as int8: rows of the panel x, columns of the panel w. */
tile_runner tt_tiles_s8(int32_t words);

/* Sums, where the bias is 0: of column 0 with rows 0 and 1 to out0, of column 1 to out1. */
tile_runner tt_tiles_s32(int32_t words);

#endif
