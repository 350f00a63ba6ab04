/* What stands for a function that a port leaves out. */
#include "tinytrain/tt_port.h"

#define ABSENT __attribute__((weak))

ABSENT uint32_t tt_port_time_us(void) {
    return 0;
}

ABSENT uint32_t tt_port_stack_bytes(void) {
    return 0;
}

ABSENT uint32_t tt_port_stack_used(void) {
    return 0;
}

ABSENT uint32_t tt_port_random(void) {
    return 0;
}

ABSENT uint32_t tt_port_flash_bytes(uint32_t slot) {
    (void)slot;
    return 0;
}

ABSENT uint32_t tt_port_flash_unit(void) {
    return 1;
}

ABSENT int32_t tt_port_flash_read(uint32_t slot, uint32_t offset, uint8_t *out, uint32_t count) {
    (void)slot, (void)offset, (void)out, (void)count;
    return -1;
}

ABSENT int32_t tt_port_flash_erase(uint32_t slot) {
    (void)slot;
    return -1;
}

ABSENT int32_t tt_port_flash_program(uint32_t slot, uint32_t offset, const uint8_t *bytes,
                                     uint32_t count) {
    (void)slot, (void)offset, (void)bytes, (void)count;
    return -1;
}
