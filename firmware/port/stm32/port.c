/* STM32: start, time by SysTick, random numbers. */
#include "stm32.h"

#include "tinytrain/tt_port.h"

#define TICK_CONTROL 0xE000E010u
#define TICK_RELOAD 0xE000E014u
#define TICK_VALUE 0xE000E018u
#define TICK_RUNS 7u /* enabled, with interrupt, from the core's clock */
#define TICK_BITS 24
#define INTERRUPT_STATE 0xE000ED04u
#define TICK_PENDS (1u << 26)

#define RNG_CONTROL (TT_RNG_BASE + 0x00u)
#define RNG_STATE (TT_RNG_BASE + 0x04u)
#define RNG_DATA (TT_RNG_BASE + 0x08u)
#define RNG_ON (1u << 2)
#define RNG_READY 1u
#define RNG_ERRORS 0x66u

tt_stm32_memory tt_stm32;

void tt_port_start(void); /* called by the reset handler */
void tt_tick(void);

#if defined(TT_STM32_F7) || defined(TT_STM32_H7)
#define CACHE_SIZE_SELECT 0xE000ED84u
#define CACHE_SIZE 0xE000ED80u
#define CACHE_CONTROL 0xE000ED14u
#define INVALIDATE_INSTRUCTIONS 0xE000EF50u
#define INVALIDATE_SET_WAY 0xE000EF60u
#define DATA_CACHE (1u << 16)
#define INSTRUCTION_CACHE (1u << 17)

/* Both caches of a Cortex-M7, emptied first (PM0253). No DMA is used, so nothing else looks at
 * memory and no line ever has to be written back on purpose. */
static void start_caches(void) {
    tt_set(CACHE_SIZE_SELECT, 0);
    tt_barrier();
    const uint32_t size = tt_get(CACHE_SIZE);
    const uint32_t sets = (size >> 13 & 0x7FFFu) + 1u, ways = (size >> 3 & 0x3FFu) + 1u;
    for (uint32_t set = 0; set < sets; set++) {
        for (uint32_t way = 0; way < ways; way++) {
            tt_set(INVALIDATE_SET_WAY, way << 30 | set << 5); /* four ways, lines of 32 bytes */
        }
    }
    tt_set(INVALIDATE_INSTRUCTIONS, 0);
    tt_barrier();
    tt_change(CACHE_CONTROL, 0, DATA_CACHE | INSTRUCTION_CACHE);
    tt_barrier();
}
#else
static void start_caches(void) {}
#endif

void tt_port_start(void) {
    start_caches();
    const tt_clocks clocks = tt_clock_start();
    const uint32_t mhz = clocks.core_hz / 1000000u;
    tt_stm32.core_mhz = (uint16_t)mhz;
    tt_stm32.wrap_us = (1u << TICK_BITS) / mhz; /* whole microseconds from wrap to wrap */
    tt_set(TICK_RELOAD, tt_stm32.wrap_us * mhz - 1u);
    tt_set(TICK_VALUE, 0);
    tt_set(TICK_CONTROL, TICK_RUNS);
    tt_uart_start(TT_UART_BASE < 0x40010000u ? clocks.apb1_hz : clocks.apb2_hz);
}

void tt_tick(void) {
    tt_stm32.elapsed_us += tt_stm32.wrap_us;
}

/* Again where SysTick wrapped between the looks at its value and at the wraps counted. */
uint32_t tt_port_time_us(void) {
    uint32_t before, ticks;
    do {
        before = tt_stm32.elapsed_us;
        ticks = tt_stm32.wrap_us * tt_stm32.core_mhz - 1u - tt_get(TICK_VALUE);
    } while (before != tt_stm32.elapsed_us || (tt_get(INTERRUPT_STATE) & TICK_PENDS));
    return (before + ticks / tt_stm32.core_mhz) & TT_PORT_TIME_MASK;
}

/* The first number is only for comparison with the second, says the manual. */
uint32_t tt_port_random(void) {
    if (TT_RNG_BASE == 0) {
        return 0;
    }
    uint32_t number[2] = {0, 0};
    tt_clock_of_rng();
    tt_change(RNG_CONTROL, 0, RNG_ON);
    for (uint32_t i = 0; i < 2; i++) {
        if (!tt_await(RNG_STATE, RNG_READY | RNG_ERRORS, RNG_READY, TT_LOOKS)) {
            return 0;
        }
        number[i] = tt_get(RNG_DATA);
    }
    return number[0] == number[1] ? 0 : number[1];
}
