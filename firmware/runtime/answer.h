/* What the device says: JSON lines and frames. Integers only, no buffer. */
#ifndef TT_ANSWER_H
#define TT_ANSWER_H

#include <stdint.h>

/* A line: tt_begin, any tt_number and tt_put, tt_end. sequence < 0: it answers no frame. */
void tt_begin(const char *event, int32_t sequence);
void tt_number(const char *name, uint32_t value);
void tt_put(const char *text);
void tt_put_number(uint32_t value, uint32_t digits); /* at least so many digits */
void tt_end(void);

/* A line "error", open for more fields, or whole. */
void tt_begin_error(int32_t sequence, const char *code, const char *message);
void tt_error(int32_t sequence, const char *code, const char *message);

/* A frame: crc = tt_begin_frame, crc = tt_put_frame(crc, ...) any number of times, tt_end_frame. */
uint32_t tt_begin_frame(uint8_t type, uint8_t sequence);
uint32_t tt_put_frame(uint32_t crc, const uint8_t *bytes, uint32_t count);
void tt_end_frame(uint32_t crc);

#endif
