/* Reset and traps of a 32-bit RISC-V core without FPU. Code and constants lie in RAM, which is
 * write-protected below the stack, so that one that grows too far traps instead of overwriting. */
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_protocol.h"
#include "tinytrain/tt_start.h"

/* Physical memory protection: entry 1 from the address of entry 0 to its own; locked, read and
 * execute. What no entry covers is free. */
#define PMP_ENTRY_1 ((0x80u | 0x08u | 0x04u | 0x01u) << 8)

int main(void);
void tt_port_start(void);
void tt_reset(void);
_Noreturn void tt_start(void);
void tt_fault(void);
_Noreturn void tt_report_fault(uint32_t address, uint32_t cause);

uint32_t tt_port_stack_bytes(void) {
    return tt_stack_bytes();
}

uint32_t tt_port_stack_used(void) {
    return tt_stack_used();
}

/* The machine starts at the first address of RAM. */
__attribute__((naked, section(".vectors"), used)) void tt_reset(void) {
    __asm__ volatile("la sp, tt_stack_end\n"
                     "j tt_start\n");
}

static void protect(void) {
    const uintptr_t low = (uintptr_t)tt_reset >> 2, high = (uintptr_t)tt_stack_start >> 2;
    __asm__ volatile("csrw pmpaddr0, %0\n"
                     "csrw pmpaddr1, %1\n"
                     "csrw pmpcfg0, %2\n" ::"r"(low),
                     "r"(high), "r"(PMP_ENTRY_1)
                     : "memory");
}

_Noreturn void tt_start(void) {
    __asm__ volatile("csrw mtvec, %0" ::"r"(tt_fault) : "memory");
#ifdef TT_FAST_CODE /* which the protection covers, too */
    tt_copy_code();
    __asm__ volatile("fence" ::: "memory");
#endif
    protect();
    uint32_t *used;
    __asm__ volatile("mv %0, sp" : "=r"(used));
    tt_fill_memory(used);
    tt_port_start();
    tt_port_exit(main());
}

/* The stack may be what is broken: report on a fresh one. */
__attribute__((naked, aligned(4))) void tt_fault(void) {
    __asm__ volatile("la sp, tt_stack_end\n"
                     "csrr a0, mepc\n"
                     "csrr a1, mcause\n"
                     "j tt_report_fault\n");
}

_Noreturn void tt_report_fault(uint32_t address, uint32_t cause) {
    tt_protocol_fault(address, cause);
    tt_port_exit(3);
}
