/* Numbers in frames, in saved states and in flash: little-endian, anywhere. */
#ifndef TT_BYTES_H
#define TT_BYTES_H

#include <stdint.h>

static inline uint32_t tt_get32(const uint8_t *b) {
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

#endif
