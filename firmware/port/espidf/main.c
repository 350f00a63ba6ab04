/* The program: wait for frames, answer them. */
#include "tinytrain/tt_protocol.h"
#include "tinytrain/tt_runtime.h"

void tt_port_start(void);
void app_main(void);

void app_main(void) {
    tt_port_start();
    tt_init();
    tt_protocol_start();
    for (;;) {
        tt_protocol_turn();
    }
}
