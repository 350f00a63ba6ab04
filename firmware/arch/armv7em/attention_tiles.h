/* What the attention kernels of cores with the DSP extension share: sizes of what lies in a room. */
#ifndef TT_ATTENTION_TILES_H
#define TT_ATTENTION_TILES_H

#include "../../kernels/attention_rows.h"
#include "panel.h"

static inline int32_t fours(int32_t n) {
    return (n + 3) & ~3;
}

/* Two rows of T products, or a panel of two rows of T. */
static inline int32_t line_bytes(const tt_head *head) {
    return 8 * fours(head->T);
}

/* A run over pairs of rows x by two rows w, as tile.h has it, of any number of groups of four columns;
 * the order is that of the code. The next pair of rows is `skip` bytes behind the end of the last. */
typedef struct {
    int32_t skip;
    const uint32_t *w;
    int32_t *out0, *out1; /* of w's rows 0 and 1; behind what is written, afterwards */
    const uint32_t *w_end, *x_end, *x;
} product_run;

/* What products need behind the panels: two lines, two rows of sums, a run. */
static inline int32_t work_bytes(const tt_head *head) {
    return line_bytes(head) + 8 * fours(head->width) + (int32_t)sizeof(product_run);
}

/* The run, in a room that begins at `line`. */
static inline product_run *run_of(void *line, const tt_head *head) {
    uint8_t *at = (uint8_t *)line + line_bytes(head) + 8 * fours(head->width);
    return (product_run *)(void *)at;
}

/* Room for a panel if what products need is left behind it, else NULL. */
static inline uint32_t *take_panel(tt_room *room, int32_t bytes, const tt_head *head) {
    if (bytes == 0 || room->bytes - bytes < work_bytes(head)) {
        return NULL;
    }
    uint32_t *panel = (uint32_t *)(void *)room->at;
    room->at += bytes;
    room->bytes -= bytes;
    return panel;
}

/* A panel of two rows of n bytes, uint8 or int8. Gives the word behind it. */
uint32_t *tt_expand_pair(uint32_t *p, const void *a, const void *b, int32_t n, int32_t is_signed);

/* Sums of all rows x by each row w. */
void tt_products(product_run *run);

/* Whether tt_mix_pair can be called. */
static inline int can_mix(const tt_matrix *v, const tt_head *head, tt_scaling scale) {
    return v->panel != NULL && (head->width & 1) == 0 && scale.shift > 32 && scale.shift <= 54;
}

/* Two rows of y, `second` bytes apart, from a panel of their n probabilities, where a room begins. */
void tt_mix_pair(int8_t *y, int32_t second, uint32_t *p, const tt_matrix *v, const tt_head *head,
                 int32_t n, tt_scaling scale);

#endif
