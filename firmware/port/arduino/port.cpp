/* Arduino: any board, by one of its streams: Serial, or what TT_PORT_STREAM names. */
#include "tinytrain/tt_port.h"

#include <Arduino.h>

#ifndef TT_PORT_STREAM
#define TT_PORT_STREAM Serial
#endif

int32_t tt_port_read(void) {
    return TT_PORT_STREAM.read();
}

void tt_port_write(const uint8_t *bytes, uint32_t count) {
    while (count > 0) { /* a full buffer takes a part */
        const uint32_t taken = (uint32_t)TT_PORT_STREAM.write(bytes, count);
        bytes += taken;
        count -= taken;
    }
}

void tt_port_idle(void) {
    yield();
}

uint32_t tt_port_time_us(void) {
    return (uint32_t)micros() & TT_PORT_TIME_MASK;
}

/* Arduino has no way to start again that all boards know. */
void tt_port_exit(int32_t status) {
    (void)status;
    TT_PORT_STREAM.flush();
    for (;;) {
        delay(1000);
    }
}
