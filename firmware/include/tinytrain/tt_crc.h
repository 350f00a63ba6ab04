/* The checksum of frames and of saved states. */
#ifndef TT_CRC_H
#define TT_CRC_H

#include <stdint.h>

/* CRC-32 of zlib, continued: start with 0. */
uint32_t tt_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count);

#endif
