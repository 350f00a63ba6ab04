/* The program: wait for frames, answer them. */
#include <Arduino.h>

#include "tinytrain/tt_port.h"
#include "tinytrain/tt_protocol.h"

extern "C" void tt_init(void);

void setup() {
    Serial.begin(TT_UART_BAUD);
    tt_init();
    tt_protocol_start();
}

void loop() {
    const int32_t byte = tt_port_read();
    if (byte < 0) {
        tt_port_idle();
    } else {
        tt_protocol_feed((uint8_t)byte);
    }
}
