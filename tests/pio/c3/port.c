/* UART0 of an ESP32-C3 by its registers, polled; for an emulated chip. The divider makes it faster
 * than any cable, as each microsecond takes the emulator a while. */
#include "tinytrain/tt_port.h"

#define REGISTER(offset) (*(volatile uint32_t *)(TT_UART_BASE + (offset)))
#define FIFO REGISTER(0x00)
#define DIVIDER REGISTER(0x14)
#define STATE REGISTER(0x1C)
#define RECEIVED(state) ((state) & 0x3FFu)
#define SENDING(state) ((state) >> 16 & 0x3FFu)
#define FULL 100u

void tt_port_start(void);

void tt_port_start(void) {
    DIVIDER = 8u;
}

int32_t tt_port_read(void) {
    return RECEIVED(STATE) ? (int32_t)(FIFO & 0xFFu) : -1;
}

void tt_port_write(const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        while (SENDING(STATE) > FULL) {
        }
        FIFO = bytes[i];
    }
}

void tt_port_idle(void) {}

_Noreturn void tt_port_exit(int32_t status) {
    (void)status;
    for (;;) {
    }
}
