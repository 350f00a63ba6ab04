/* QEMU's machine "virt" with a RISC-V core: 16550 UART, CLINT timer, exit by its test device. */
#include "tinytrain/tt_port.h"

#define REGISTER8(address) (*(volatile uint8_t *)(uintptr_t)(address))
#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#define UART_DATA REGISTER8(TT_UART_BASE + 0)
#define UART_INTERRUPT REGISTER8(TT_UART_BASE + 1)
#define UART_FIFO REGISTER8(TT_UART_BASE + 2)
#define UART_LINE REGISTER8(TT_UART_BASE + 3)
#define UART_STATUS REGISTER8(TT_UART_BASE + 5)
#define RX_INTERRUPT 1u
#define FIFO_ON 1u /* one byte is enough for an interrupt */
#define EIGHT_BITS 3u
#define RX_READY 0x01u
#define TX_EMPTY 0x20u

/* Interrupt controller: source 10 is the UART; context 0 is machine mode of the first core. */
#define PLIC_PRIORITY(source) REGISTER(0x0C000000 + 4 * (source))
#define PLIC_ENABLE REGISTER(0x0C002000)
#define PLIC_THRESHOLD REGISTER(0x0C200000)
#define UART_SOURCE 10u
#define MACHINE_EXTERNAL (1u << 11) /* in mie */

/* 10 MHz, counts up. */
#define TIMER_LOW REGISTER(0x0200BFF8)
#define TIMER_HIGH REGISTER(0x0200BFFC)
#define TICKS_PER_US 10u

#define TEST_DEVICE REGISTER(0x00100000)
#define TEST_PASS 0x5555u
#define TEST_FAIL 0x3333u /* with the status above */

void tt_port_start(void); /* called by the reset handler */

/* Interrupts stay masked in mstatus: a pending one only wakes the core, no handler runs. */
void tt_port_start(void) {
    UART_LINE = EIGHT_BITS;
    UART_FIFO = FIFO_ON;
    UART_INTERRUPT = RX_INTERRUPT;
    PLIC_PRIORITY(UART_SOURCE) = 1u;
    PLIC_ENABLE = 1u << UART_SOURCE;
    PLIC_THRESHOLD = 0u;
    __asm__ volatile("csrs mie, %0" ::"r"(MACHINE_EXTERNAL) : "memory");
}

int32_t tt_port_read(void) {
    return (UART_STATUS & RX_READY) ? (int32_t)UART_DATA : -1;
}

/* The interrupt is pending as long as a byte waits. */
void tt_port_idle(void) {
    __asm__ volatile("wfi" ::: "memory");
}

void tt_port_write(const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        while ((UART_STATUS & TX_EMPTY) == 0) {
        }
        UART_DATA = bytes[i];
    }
}

/* Ticks modulo the period, 10 * 2^27 = 5 * 2^28, without a 64-bit division. */
uint32_t tt_port_time_us(void) {
    uint32_t high, low;
    do {
        high = TIMER_HIGH;
        low = TIMER_LOW;
    } while (high != TIMER_HIGH);
    const uint32_t periods = (high << 4 | low >> 28) % 5u; /* right for 13000 days */
    return (periods << 28 | (low & 0xFFFFFFFu)) / TICKS_PER_US;
}

_Noreturn void tt_port_exit(int32_t status) {
    for (;;) {
        TEST_DEVICE = status == 0 ? TEST_PASS : (uint32_t)status << 16 | TEST_FAIL;
    }
}
