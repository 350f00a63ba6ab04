/* The program: wait for frames, answer them. */
#include <Arduino.h>

#include "tinytrain/tt_protocol.h"

extern "C" void tt_init(void);

void setup() {
    Serial.begin(TT_UART_BAUD);
    tt_init();
    tt_protocol_start();
}

void loop() {
    tt_protocol_turn();
}
