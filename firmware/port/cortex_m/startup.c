/* Reset, interrupts and faults of a Cortex-M with FPU, for each port of one. The stack lies below
 * everything else in RAM, so that one that grows too far faults instead of overwriting weights. */
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_protocol.h"
#include "tinytrain/tt_start.h"

#define COPROCESSOR_ACCESS (*(volatile uint32_t *)0xE000ED88)
#define FAULT_STATUS (*(volatile uint32_t *)0xE000ED28)
#define VECTORS (*(volatile uint32_t *)0xE000ED08)
#define ITCM_CONTROL \
    (*(volatile uint32_t *)0xE000EF90) /* of a Cortex-M7; others have nothing there */
#define ITCM_ON 3u /* enabled, and a part of a word is written by way of the whole, for the ECC */

typedef union {
    const uint32_t *stack;
    void (*handler)(void);
} vector;

/* A port with interrupts compiles with TT_UART_IRQ and has tt_uart_interrupt. */
#ifdef TT_UART_IRQ
#define ENTRIES (16 + TT_UART_IRQ + 1)
void tt_uart_interrupt(void);
#else
#define ENTRIES 16
#endif

extern const vector tt_vectors[ENTRIES];

int main(void);
void tt_port_start(void);
_Noreturn void tt_reset(void);
void tt_fault(void);
_Noreturn void tt_report_fault(const uint32_t *frame);

uint32_t tt_port_stack_bytes(void) {
    return tt_stack_bytes();
}

uint32_t tt_port_stack_used(void) {
    return tt_stack_used();
}

_Noreturn void tt_reset(void) {
    VECTORS = (uint32_t)(uintptr_t)tt_vectors; /* a boot loader may have set another */
    COPROCESSOR_ACCESS |= 0xFu << 20;          /* FPU */
#ifdef TT_FAST_CODE
    ITCM_CONTROL |= ITCM_ON;
    __asm__ volatile("dsb\n isb" ::: "memory");
    tt_copy_code();
#endif
    __asm__ volatile("dsb\n isb" ::: "memory");
    uint32_t *used;
    __asm__ volatile("mov %0, sp" : "=r"(used));
    tt_fill_memory(used);
    tt_port_start();
    tt_port_exit(main());
}

/* The stack may be what is broken: report on a fresh one. */
__attribute__((naked)) void tt_fault(void) {
    __asm__ volatile("mrs r0, msp\n"
                     "ldr r1, =tt_stack_end\n"
                     "msr msp, r1\n"
                     "b tt_report_fault\n");
}

_Noreturn void tt_report_fault(const uint32_t *frame) {
    const uintptr_t low = (uintptr_t)tt_stack_start, high = (uintptr_t)tt_stack_end;
    const uintptr_t at = (uintptr_t)frame;
    const uint32_t whole = at >= low && at + 32u <= high;
    tt_protocol_fault(whole ? frame[6] : 0u, FAULT_STATUS);
    tt_port_exit(3);
}

/* The port's, where it has one. */
__attribute__((weak, alias("tt_fault"))) void tt_nmi(void);
__attribute__((weak, alias("tt_fault"))) void tt_tick(void);

__attribute__((section(".vectors"), used)) const vector tt_vectors[ENTRIES] = {
    [0] = {.stack = tt_stack_end},
    [1] = {.handler = tt_reset},
    [2] = {.handler = tt_nmi},
    [3 ... 14] = {.handler = tt_fault},
    [15] = {.handler = tt_tick},
#ifdef TT_UART_IRQ
    [16 ... 16 + TT_UART_IRQ - 1] = {.handler = tt_fault},
    [16 + TT_UART_IRQ] = {.handler = tt_uart_interrupt},
#endif
};
