/* The state in the port's flash, over a power cycle. Two slots take turns, and a slot counts once
 * its last piece, the header, is written: a cut of the power leaves the state before or after.
 *
 * A slot: header of 32 bytes (magic, turn, zeros, CRC-32), then the block of tt_save.h.
 * The valid slot of this model with the highest turn is what is kept. */
#ifndef TT_KEEP_H
#define TT_KEEP_H

#include "tinytrain/tt_types.h"

/* What the slots hold, for the line "info". */
typedef enum {
    TT_KEPT_NONE = 0,   /* nothing */
    TT_KEPT_YES = 1,    /* a state of this model */
    TT_KEPT_OTHER = 2,  /* only one of another model */
    TT_KEPT_DAMAGED = 3 /* only one that is not whole */
} tt_kept;

/* Bytes of the smaller slot; 0 where the board keeps nothing. */
uint32_t tt_keep_bytes(void);

/* Bytes that this model needs in a slot. */
uint32_t tt_keep_needed(void);

/* Go on from what is kept, where it is this model's. */
tt_kept tt_keep_load(void);

/* TT_NO_ROOM: no slots, or too small ones. TT_NOT_WRITTEN: the flash failed; what was kept still is. */
tt_status tt_keep_save(void);

/* Both slots are empty afterwards; the state in RAM stays. Statuses as of tt_keep_save. */
tt_status tt_keep_forget(void);

#endif
