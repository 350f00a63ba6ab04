/* What a port must give: a byte stream, and a way out. What it may give: a clock, the use of the
 * stack, random numbers, flash that keeps the state over a power cycle. firmware/runtime/absent.c stands for each of
 * the latter that a port leaves out. */
#ifndef TT_PORT_H
#define TT_PORT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- needed ---- */

/* The next byte of the stream, or -1 when none has arrived. */
int32_t tt_port_read(void);

/* Send all bytes; returns when they are handed over. */
void tt_port_write(const uint8_t *bytes, uint32_t count);

/* Called while no byte is there; may sleep until one is. */
void tt_port_idle(void);

/* End of the program; boards that have nowhere to go start again. */
__attribute__((noreturn)) void tt_port_exit(int32_t status);

/* ---- may be left out ---- */

/* Microseconds modulo 2^27 (134 s); always 0 where the board has no clock. */
#define TT_PORT_TIME_MASK 0x7FFFFFFu
uint32_t tt_port_time_us(void);

/* Reserved stack, and the most of it that was ever in use; 0 where that is not known. */
uint32_t tt_port_stack_bytes(void);
uint32_t tt_port_stack_used(void);

/* A number that no other start has, for a seed; 0 where the board has no source of one. */
uint32_t tt_port_random(void);

/* Flash kept for the state, in two slots, 0 and 1, each of which is erased by itself: the bytes of a
 * slot (0: there are none), and of how many bytes each piece that is programmed must be a multiple,
 * a divisor of 32. Offsets are from the start of the slot. The functions return 0, or -1 when the
 * flash cannot be read, or does not hold what it should afterwards. Erased bytes are 0xFF; a byte
 * is programmed once between two erasures. The core may stand still meanwhile. */
uint32_t tt_port_flash_bytes(uint32_t slot);
uint32_t tt_port_flash_unit(void);
int32_t tt_port_flash_read(uint32_t slot, uint32_t offset, uint8_t *out, uint32_t count);
int32_t tt_port_flash_erase(uint32_t slot);
int32_t tt_port_flash_program(uint32_t slot, uint32_t offset, const uint8_t *bytes, uint32_t count);

#ifdef __cplusplus
}
#endif

#endif
