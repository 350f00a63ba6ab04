/* Reset and traps of a 32-bit RISC-V core without FPU. Code and constants lie in RAM, which is
 * write-protected below the stack, so that one that grows too far traps instead of overwriting. */
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_protocol.h"

/* Bounds from the linker script. */
extern uint32_t tt_stack_start[], tt_stack_end[];
extern uint32_t tt_data_start[], tt_data_end[], tt_bss_start[], tt_bss_end[];
extern const uint32_t tt_data_image[];
#ifdef TT_FAST_CODE
extern uint32_t tt_fast_start[], tt_fast_end[];
extern const uint32_t tt_fast_image[];
#endif

#define PAINT 0xA5C3A5C3u
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
    return (uint32_t)((uintptr_t)tt_stack_end - (uintptr_t)tt_stack_start);
}

uint32_t tt_port_stack_used(void) {
    const volatile uint32_t *word = tt_stack_start;
    while (word < tt_stack_end && *word == PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)tt_stack_end - (uintptr_t)word);
}

/* The machine starts at the first address of RAM. */
__attribute__((naked, section(".vectors"), used)) void tt_reset(void) {
    __asm__ volatile("la sp, tt_stack_end\n"
                     "j tt_start\n");
}

static void copy(volatile uint32_t *to, const volatile uint32_t *end, const uint32_t *from) {
    while (to < end) {
        *to++ = *from++;
    }
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
    copy(tt_fast_start, tt_fast_end, tt_fast_image);
    __asm__ volatile("fence" ::: "memory");
#endif
    protect();
    uint32_t *used;
    __asm__ volatile("mv %0, sp" : "=r"(used));
    for (volatile uint32_t *word = tt_stack_start; word < used; word++) {
        *word = PAINT;
    }
    copy(tt_data_start, tt_data_end, tt_data_image);
    for (volatile uint32_t *word = tt_bss_start; word < tt_bss_end; word++) {
        *word = 0;
    }
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
