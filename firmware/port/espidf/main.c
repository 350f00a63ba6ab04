/* The program: wait for frames, answer them. */
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_protocol.h"
#include "tinytrain/tt_runtime.h"

void tt_port_start(void);
void app_main(void);

void app_main(void) {
    tt_port_start();
    tt_init();
    tt_protocol_start();
    for (;;) {
        const int32_t byte = tt_port_read();
        if (byte < 0) {
            tt_port_idle();
        } else {
            tt_protocol_feed((uint8_t)byte);
        }
    }
}
