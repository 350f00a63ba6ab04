/* Registers of a microcontroller as two functions that a test gives. */
#include <stdint.h>

extern uint32_t (*tt_on_get)(uint32_t address);
extern void (*tt_on_set)(uint32_t address, uint32_t value);
uint32_t (*tt_on_get)(uint32_t address);
void (*tt_on_set)(uint32_t address, uint32_t value);

uint32_t tt_get(uint32_t address);
void tt_set(uint32_t address, uint32_t value);

uint32_t tt_get(uint32_t address) {
    return tt_on_get(address);
}

void tt_set(uint32_t address, uint32_t value) {
    tt_on_set(address, value);
}

/* Where a port goes that has nowhere else to go. */
void tt_fault(void);
void tt_fault(void) {
    __builtin_trap();
}
