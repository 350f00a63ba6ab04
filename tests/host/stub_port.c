/* A port for tests: stdin and stdout are the stream. */
#include "tinytrain/tt_port.h"

#include <stdio.h>
#include <stdlib.h>

int32_t tt_port_read(void) {
    return getchar();
}

void tt_port_write(const uint8_t *bytes, uint32_t count) {
    fwrite(bytes, 1, count, stdout);
}

void tt_port_idle(void) {
    tt_port_exit(0); /* the end of stdin */
}

uint32_t tt_port_time_us(void) {
    return 0;
}

uint32_t tt_port_stack_bytes(void) {
    return 0;
}

uint32_t tt_port_stack_used(void) {
    return 0;
}

_Noreturn void tt_port_exit(int32_t status) {
    fflush(stdout);
    exit(status);
}
