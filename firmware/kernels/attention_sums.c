#include "attention_rows.h"
#include "attention_sums_plain.h"

tt_matrix tt_matrix_columns(const int8_t *x, int32_t stride, const tt_head *head, tt_room *room) {
    (void)head;
    (void)room;
    const tt_matrix m = {x, stride, NULL, 0};
    return m;
}
