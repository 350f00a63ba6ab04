/* What the files of this port share: access to registers, the clocks, the port's memory.
 * F4, F7, H7, L4: TT_STM32_<family> is defined; board.toml gives TT_UART_*, TT_HSE_*, TT_CORE_HZ. */
#ifndef TT_STM32_H
#define TT_STM32_H

#include <stdint.h>

/* Bytes of .bss of the whole port. The memory plan reads this line. */
#define TT_PORT_BYTES 272

#define TT_RING_BYTES 256u /* received and not read yet, at most one less */

typedef struct {
    _Alignas(8) uint8_t ring[TT_RING_BYTES];
    volatile uint8_t head; /* written by the interrupt: the next byte goes here */
    volatile uint8_t tail; /* the next byte is read from here */
    uint16_t core_mhz;
    volatile uint32_t elapsed_us;   /* at the last wrap of SysTick */
    uint32_t wrap_us;               /* from wrap to wrap */
    volatile uint8_t flash_damaged; /* a word of the storage could not be read */
} tt_stm32_memory;

_Static_assert(sizeof(tt_stm32_memory) == TT_PORT_BYTES, "the memory plan counts on this size");

extern tt_stm32_memory tt_stm32;

typedef struct {
    uint32_t core_hz;
    uint32_t apb1_hz;
    uint32_t apb2_hz;
} tt_clocks;

/* Full speed by the PLL: from TT_HSE_HZ, or the chip's own oscillator where there is none or it
 * does not start. Where the PLL does not lock either, all stays as it is after reset. */
tt_clocks tt_clock_start(void);

/* Clocks of a GPIO port and of a UART, by the bus that its address says. */
void tt_clock_of_gpio(uint32_t port);
void tt_clock_of_uart(void);
void tt_clock_of_rng(void);

void tt_uart_start(uint32_t bus_hz);

void tt_fault(void); /* cortex_m/startup.c */

#ifdef TT_REGISTERS_OF_A_TEST
uint32_t tt_get(uint32_t address);
void tt_set(uint32_t address, uint32_t value);
static inline void tt_barrier(void) {}
static inline void tt_mask_interrupts(void) {}
static inline void tt_unmask_interrupts(void) {}
static inline void tt_mask_faults(void) {}
static inline void tt_unmask_faults(void) {}
static inline void tt_sleep(void) {}
#else
static inline uint32_t tt_get(uint32_t address) {
    return *(volatile uint32_t *)(uintptr_t)address;
}

static inline void tt_set(uint32_t address, uint32_t value) {
    *(volatile uint32_t *)(uintptr_t)address = value;
}

/* Everything before has happened. */
static inline void tt_barrier(void) {
    __asm__ volatile("dsb\n isb" ::: "memory");
}

static inline void tt_mask_interrupts(void) {
    __asm__ volatile("cpsid i" ::: "memory");
}

static inline void tt_unmask_interrupts(void) {
    __asm__ volatile("cpsie i" ::: "memory");
}

static inline void tt_mask_faults(void) {
    __asm__ volatile("cpsid f" ::: "memory");
}

static inline void tt_unmask_faults(void) {
    __asm__ volatile("cpsie f" ::: "memory");
}

static inline void tt_sleep(void) {
    __asm__ volatile("dsb\n wfi" ::: "memory");
}
#endif

/* Clear some bits, then set others. */
static inline void tt_change(uint32_t address, uint32_t clear, uint32_t set) {
    tt_set(address, (tt_get(address) & ~clear) | set);
}

/* Set a bit that gives a peripheral its clock; it answers once that has been read back. */
static inline void tt_enable(uint32_t address, uint32_t bits) {
    tt_change(address, 0, bits);
    (void)tt_get(address);
}

/* Whether the masked bits become value. Oscillators start within some ms, which 50,000 looks are
 * at any clock; what is absent, or not emulated, never answers. */
#define TT_LOOKS 50000u
static inline int32_t tt_await(uint32_t address, uint32_t mask, uint32_t value, uint32_t looks) {
    for (; looks > 0; looks--) {
        if ((tt_get(address) & mask) == value) {
            return 1;
        }
    }
    return 0;
}

/* Start the crystal, or the clock at its pin, by the RCC's first register; whether there is one. */
static inline uint32_t tt_hse_runs(uint32_t control) {
    const uint32_t on = 1u << 16, ready = 1u << 17, bypass = 1u << 18;
    if (TT_HSE_HZ == 0) {
        return 0;
    }
    tt_change(control, 0, (TT_HSE_BYPASS ? bypass : 0u) | on);
    return (uint32_t)tt_await(control, ready, ready, TT_LOOKS);
}

/* The clock of the UART, in the register of its bus: the bit is its place among the peripherals
 * there, of 1 KB each. */
static inline void tt_enable_uart(uint32_t apb1, uint32_t apb2) {
    tt_enable(TT_UART_BASE < 0x40010000u ? apb1 : apb2, 1u << (TT_UART_BASE >> 10 & 31u));
}

#endif
