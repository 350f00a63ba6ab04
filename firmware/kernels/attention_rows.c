#include "attention_rows.h"

#include "attention_rows_plain.h"

tt_matrix tt_matrix_rows(const int8_t *x, const tt_head *head, tt_room *room) {
    (void)room;
    const tt_matrix m = {x + tt_head_at(head, 0), head->C, NULL, 0};
    return m;
}
