/* The rows of a layer: products, bias, requantization. */
#ifndef TT_LAYER_H
#define TT_LAYER_H

#include "panel.h"
#include "tinytrain/tt_linear.h"

#define SUMS 8 /* outputs that wait for their requantization */

typedef struct {
    const int8_t *x, *w, *wt;
    const int16_t *rows;
    const int32_t *b, *bt, *mult, *shift;
    int32_t C, O, per_channel;
    int8_t *y8; /* or NULL */
    int16_t *y16;
    int32_t limit;
} layer;

static inline int has_channel_scales(const layer *l) {
    return TT_USES_PER_CHANNEL && l->per_channel;
}

static inline const int8_t *row_of(const layer *l, int32_t o) {
    return weight_row(l->w, l->wt, l->rows, o, l->C);
}

/* y[t, o .. o + n - 1] from their sums. */
void tt_layer_put(const layer *l, const int32_t *sums, int32_t t, int32_t o, int32_t n);

/* Rows t and, where `below` is not x, t + 1 of the result from rows of bytes; xp: for a panel of `span` of
 * their columns, a multiple of 4 or all of them, or what lies on the stack is larger. */
void tt_layer_few(const layer *l, uint32_t *xp, int32_t span, const int8_t *x, const int8_t *below,
                  int32_t t);

/* Rows begin .. end - 1 of the result from their panels times 2^k, at xp; wp: for one of the weight. */
void tt_layer_rows(const layer *l, uint32_t *wp, uint32_t *xp, int32_t begin, int32_t end,
                   int32_t k);

/* The k for tt_layer_rows. */
int32_t tt_layer_scale(const layer *l);

#endif
