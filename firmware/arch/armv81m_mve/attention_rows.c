#include "loops.h"

#include "attention_rows_plain.h"

tt_matrix tt_matrix_rows(const int8_t *x, const tt_head *head, tt_room *room) {
    (void)room;
    const tt_matrix m = {.x = x + tt_head_at(head, 0), .stride = head->C};
    return m;
}
