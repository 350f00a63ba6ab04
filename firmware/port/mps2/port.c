/* Arm's MPS2 and MPS3 boards as QEMU emulates them: CMSDK UART, exit by semihosting. */
#include "machine.h"

#define UART_DATA REGISTER(TT_UART_BASE + 0x00)
#define UART_STATE REGISTER(TT_UART_BASE + 0x04)
#define UART_CONTROL REGISTER(TT_UART_BASE + 0x08)
#define UART_INTERRUPT REGISTER(TT_UART_BASE + 0x0C)
#define UART_DIVIDER REGISTER(TT_UART_BASE + 0x10)
#define TX_FULL 1u
#define RX_FULL 2u
#define RX_INTERRUPT 2u

#define NVIC_ENABLE REGISTER(0xE000E100 + UART_RX_IRQ / 32u * 4u)
#define NVIC_CLEAR REGISTER(0xE000E280 + UART_RX_IRQ / 32u * 4u)
#define UART_RX_BIT (1u << UART_RX_IRQ % 32u)

#define SEMIHOSTING_EXIT 0x20u /* SYS_EXIT_EXTENDED */
#define STOPPED_APPLICATION 0x20026u

void tt_port_start(void); /* called by the reset handler */

/* Interrupts stay masked: a pending one only wakes the core, no handler runs. */
void tt_port_start(void) {
    __asm__ volatile("cpsid i" ::: "memory");
    UART_DIVIDER = 16u;
    UART_CONTROL = 0xBu; /* transmit, receive, receive interrupt */
    NVIC_ENABLE = UART_RX_BIT;
    start_clock();
}

int32_t tt_port_read(void) {
    if ((UART_STATE & RX_FULL) == 0) {
        return -1;
    }
    UART_INTERRUPT = RX_INTERRUPT; /* first, as the next byte comes once this one is read */
    NVIC_CLEAR = UART_RX_BIT;
    return (int32_t)(UART_DATA & 0xFFu);
}

/* Sleep at once: looking at the UART in a loop keeps QEMU from filling it, five times slower. */
void tt_port_idle(void) {
    __asm__ volatile("wfi" ::: "memory");
}

void tt_port_write(const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        while (UART_STATE & TX_FULL) {
        }
        UART_DATA = bytes[i];
    }
}

uint32_t tt_port_time_us(void) {
    return clock_us();
}

_Noreturn void tt_port_exit(int32_t status) {
    const uint32_t block[2] = {STOPPED_APPLICATION, (uint32_t)status};
    register uint32_t operation __asm__("r0") = SEMIHOSTING_EXIT;
    register const uint32_t *argument __asm__("r1") = block;
    for (;;) {
        __asm__ volatile("bkpt 0xAB" : "+r"(operation) : "r"(argument) : "memory");
    }
}
