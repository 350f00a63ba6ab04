/* What differs between the MPS2 boards and AN547 on MPS3: the clock and the interrupt of the UART. */
#ifndef TT_MACHINE_H
#define TT_MACHINE_H

#include "tinytrain/tt_port.h"

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#if TT_UART_BASE == 0x59303000
/* AN547, secure addresses: a 64-bit counter of 32 MHz. */
#define UART_RX_IRQ 33u
#define COUNTER_CONTROL REGISTER(0x58100000)
#define COUNTER_LOW REGISTER(0x58100008)
#define COUNTER_HIGH REGISTER(0x5810000C)

static inline void start_clock(void) {
    COUNTER_CONTROL = 1u;
}

static inline uint32_t clock_us(void) {
    uint32_t high, low;
    do {
        high = COUNTER_HIGH;
        low = COUNTER_LOW;
    } while (high != COUNTER_HIGH);
    return (high << 27 | low >> 5) & TT_PORT_TIME_MASK;
}

#else
/* 25 MHz, counts down. The period is 2^27 us. */
#define UART_RX_IRQ 0u
#define TIMER_CONTROL REGISTER(0x40000000)
#define TIMER_VALUE REGISTER(0x40000004)
#define TIMER_RELOAD REGISTER(0x40000008)
#define TICKS_PER_US 25u
#define LAST_TICK (TICKS_PER_US * (TT_PORT_TIME_MASK + 1u) - 1u)

static inline void start_clock(void) {
    TIMER_RELOAD = LAST_TICK;
    TIMER_VALUE = LAST_TICK;
    TIMER_CONTROL = 1u;
}

static inline uint32_t clock_us(void) {
    return (LAST_TICK - TIMER_VALUE) / TICKS_PER_US;
}
#endif

#endif
