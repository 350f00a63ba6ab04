/* USART with a ring of received bytes that the interrupt fills. Sending waits. */
#include "stm32.h"

#include "tinytrain/tt_port.h"

#ifdef TT_STM32_F4
#define UART_STATE (TT_UART_BASE + 0x00u)
#define UART_RECEIVE (TT_UART_BASE + 0x04u)
#define UART_TRANSMIT (TT_UART_BASE + 0x04u)
#define UART_DIVIDER (TT_UART_BASE + 0x08u)
#define UART_CONTROL (TT_UART_BASE + 0x0Cu)
#define UART_ENABLE (1u << 13)
#else
#define UART_CONTROL (TT_UART_BASE + 0x00u)
#define UART_DIVIDER (TT_UART_BASE + 0x0Cu)
#define UART_STATE (TT_UART_BASE + 0x1Cu)
#define UART_CLEAR (TT_UART_BASE + 0x20u)
#define UART_RECEIVE (TT_UART_BASE + 0x24u)
#define UART_TRANSMIT (TT_UART_BASE + 0x28u)
#define UART_ENABLE (1u << 0)
#endif
#define RECEIVER (1u << 2)
#define TRANSMITTER (1u << 3)
#define RECEIVE_INTERRUPT (1u << 5)
#define OVERRUN (1u << 3)
#define RECEIVED (1u << 5)
#define SENT (1u << 6)
#define TRANSMIT_EMPTY (1u << 7)

#if defined(TT_STM32_H7)
#define GPIO 0x58020000u
#elif defined(TT_STM32_L4)
#define GPIO 0x48000000u
#else
#define GPIO 0x40020000u
#endif
#define GPIO_MODE 0x00u
#define GPIO_SPEED 0x08u
#define GPIO_PULL 0x0Cu
#define GPIO_ALTERNATE 0x20u

#define NVIC_ENABLE (0xE000E100u + 4u * (TT_UART_IRQ / 32u))
#define RESET_CONTROL 0xE000ED0Cu
#define RESET_REQUEST 0x05FA0004u

void tt_uart_interrupt(void);

/* The alternate function, with a pull-up: an open line reads as idle. */
static void pin(uint32_t number) {
    const uint32_t port = number / 16u, bit = number % 16u, base = GPIO + 0x400u * port;
    tt_clock_of_gpio(port);
    tt_change(base + GPIO_ALTERNATE + 4u * (bit / 8u), 15u << 4u * (bit % 8u),
              (uint32_t)TT_UART_ALTERNATE << 4u * (bit % 8u));
    tt_change(base + GPIO_PULL, 3u << 2u * bit, 1u << 2u * bit);
    tt_change(base + GPIO_SPEED, 3u << 2u * bit, 1u << 2u * bit);
    tt_change(base + GPIO_MODE, 3u << 2u * bit, 2u << 2u * bit);
}

void tt_uart_start(uint32_t bus_hz) {
    pin(TT_UART_TX);
    pin(TT_UART_RX);
    tt_clock_of_uart();
    tt_set(UART_DIVIDER, (bus_hz + TT_UART_BAUD / 2u) / TT_UART_BAUD);
    tt_set(UART_CONTROL, UART_ENABLE | RECEIVER | TRANSMITTER | RECEIVE_INTERRUPT);
    tt_set(NVIC_ENABLE, 1u << TT_UART_IRQ % 32u);
}

/* A byte that finds the ring full is lost; the frame's checksum tells. */
void tt_uart_interrupt(void) {
    const uint32_t state = tt_get(UART_STATE);
    const uint8_t byte = (uint8_t)tt_get(UART_RECEIVE); /* clears both flags on an F4 */
#ifdef UART_CLEAR
    tt_set(UART_CLEAR, OVERRUN);
#endif
    const uint8_t next = (uint8_t)(tt_stm32.head + 1u);
    if ((state & RECEIVED) && next != tt_stm32.tail) {
        tt_stm32.ring[tt_stm32.head] = byte;
        tt_stm32.head = next;
    }
}

int32_t tt_port_read(void) {
    const uint8_t at = tt_stm32.tail;
    if (at == tt_stm32.head) {
        return -1;
    }
    const uint8_t byte = tt_stm32.ring[at];
    tt_stm32.tail = (uint8_t)(at + 1u);
    return byte;
}

void tt_port_write(const uint8_t *bytes, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        while ((tt_get(UART_STATE) & TRANSMIT_EMPTY) == 0) {
        }
        tt_set(UART_TRANSMIT, bytes[i]);
    }
}

/* What is pending wakes the core although it is masked, so no byte comes between look and sleep. */
void tt_port_idle(void) {
    tt_mask_interrupts();
    if (tt_stm32.tail == tt_stm32.head) {
        tt_sleep();
    }
    tt_unmask_interrupts();
}

_Noreturn void tt_port_exit(int32_t status) {
    (void)status;
    (void)tt_await(UART_STATE, SENT, SENT, 1000000u);
    for (;;) {
        tt_set(RESET_CONTROL, RESET_REQUEST);
    }
}
