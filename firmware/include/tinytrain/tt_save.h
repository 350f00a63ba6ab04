/* The state as one block of bytes that can be stored anywhere: hash of the model and bytes of the
 * state, the state, a CRC-32 of all before and its complement; uint32, little-endian. C and C++. */
#ifndef TT_SAVE_H
#define TT_SAVE_H

#include "tinytrain/tt_types.h"

/* Bytes of a block beside the state. */
#define TT_SAVE_HEADER_BYTES 8u
#define TT_SAVE_TRAILER_BYTES 8u

#ifdef __cplusplus
extern "C" {
#endif

/* Takes piece after piece of a saved state: count bytes, a multiple of 8, that belong at offset at,
 * which is where the piece before ended. Anything but 0 ends the saving. */
typedef int32_t tt_writer(void *to, uint32_t at, const uint8_t *bytes, uint32_t count);

/* Gives count bytes at offset at of a saved state. Anything but 0 ends the loading. */
typedef int32_t tt_reader(void *from, uint32_t at, uint8_t *out, uint32_t count);

/* All that training changes: weights, moments, seed and step. TT_NOT_WRITTEN where the writer
 * failed. */
tt_status tt_save(tt_writer *write, void *to);

/* Go on from what tt_save wrote. TT_BAD_SAVE, and nothing changed, for bytes that are damaged or of
 * another model. The reader must give the same bytes twice. */
tt_status tt_load_from(tt_reader *read, void *from);

/* Whether a block of at most `most` bytes is whole, whatever its model, and what it says of itself. */
typedef struct {
    uint32_t hash; /* of the model */
    uint32_t state_bytes;
} tt_saved;
int32_t tt_saved_whole(tt_reader *read, void *from, uint32_t most, tt_saved *found);

#ifdef __cplusplus
}
#endif

#endif
