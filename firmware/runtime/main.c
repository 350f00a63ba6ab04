/* The program of a board: wait for frames, answer them. */
#include "tinytrain/tt_protocol.h"
#include "tinytrain/tt_runtime.h"

int main(void) {
    tt_init();
    tt_protocol_start();
    for (;;) {
        tt_protocol_turn();
    }
}
