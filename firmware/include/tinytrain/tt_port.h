/* What a port must give: a byte stream, a clock, a stack that can be measured, a way out. */
#ifndef TT_PORT_H
#define TT_PORT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The next byte of the stream, or -1 when none has arrived. */
int32_t tt_port_read(void);

/* Send all bytes; returns when they are handed over. */
void tt_port_write(const uint8_t *bytes, uint32_t count);

/* Called while no byte is there; may sleep until one is. */
void tt_port_idle(void);

/* Microseconds modulo 2^27 (134 s); always 0 where the board has no clock. */
#define TT_PORT_TIME_MASK 0x7FFFFFFu
uint32_t tt_port_time_us(void);

/* Reserved stack, and the most of it that was ever in use; 0 where that is not known. */
uint32_t tt_port_stack_bytes(void);
uint32_t tt_port_stack_used(void);

/* End of the program; boards that have nowhere to go start again. */
__attribute__((noreturn)) void tt_port_exit(int32_t status);

#ifdef __cplusplus
}
#endif

#endif
