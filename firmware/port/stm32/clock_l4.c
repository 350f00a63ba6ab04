/* Clocks of STM32L4 (RM0351): PLL input 4 MHz, VCO twice the core, buses as fast as the core. */
#include "stm32.h"

#ifdef TT_STM32_L4

#define RCC 0x40021000u
#define RCC_CR (RCC + 0x00u)
#define RCC_CFGR (RCC + 0x08u)
#define RCC_PLLCFGR (RCC + 0x0Cu)
#define RCC_AHB2ENR (RCC + 0x4Cu)
#define RCC_APB1ENR (RCC + 0x58u)
#define RCC_APB2ENR (RCC + 0x60u)
#define RCC_CCIPR (RCC + 0x88u)
#define FLASH_ACR 0x40022000u

#define MSI_ON 1u
#define MSI_READY 2u
#define MSI_48_MHZ (11u << 4 | 1u << 3)
#define HSI_ON (1u << 8)
#define HSI_READY (1u << 10)
#define PLL_ON (1u << 24)
#define PLL_READY (1u << 25)
#define PLL_OF_HSI 2u
#define PLL_OF_HSE 3u
#define PLL_OUTPUT (1u << 24) /* R = 2 */
#define SWITCH_TO_PLL 3u
#define SWITCHED_TO_PLL (3u << 2)

#define MSI_HZ 4000000u
#define HSI_HZ 16000000u
#define WAIT_STATES ((TT_CORE_HZ - 1u) / 16000000u) /* at voltage range 1, as after reset */
#define FLASH_SPEED (1u << 10 | 1u << 9 | 1u << 8)  /* data and instruction cache, prefetch */

tt_clocks tt_clock_start(void) {
    const tt_clocks slow = {MSI_HZ, MSI_HZ, MSI_HZ};
    const tt_clocks full = {TT_CORE_HZ, TT_CORE_HZ, TT_CORE_HZ};
    const uint32_t hse = tt_hse_runs(RCC_CR);
    if (!hse) {
        tt_change(RCC_CR, 0, HSI_ON);
        if (!tt_await(RCC_CR, HSI_READY, HSI_READY, TT_LOOKS)) {
            return slow;
        }
    }
    const uint32_t m = (hse ? TT_HSE_HZ : HSI_HZ) / 4000000u;
    tt_change(RCC_PLLCFGR, 0x07007F73u,
              (hse ? PLL_OF_HSE : PLL_OF_HSI) | (m - 1u) << 4 | (TT_CORE_HZ / 2000000u) << 8 |
                  PLL_OUTPUT);
    tt_change(RCC_CR, 0, PLL_ON);
    if (!tt_await(RCC_CR, PLL_READY, PLL_READY, TT_LOOKS)) {
        tt_change(RCC_CR, PLL_ON, 0);
        return slow;
    }
    tt_change(FLASH_ACR, 7u, WAIT_STATES | FLASH_SPEED);
    if (!tt_await(FLASH_ACR, 7u, WAIT_STATES, TT_LOOKS)) {
        return slow;
    }
    tt_change(RCC_CFGR, 3u, SWITCH_TO_PLL);
    (void)tt_await(RCC_CFGR, 0xCu, SWITCHED_TO_PLL, TT_LOOKS);
    return full;
}

void tt_clock_of_gpio(uint32_t port) {
    tt_enable(RCC_AHB2ENR, 1u << port);
}

void tt_clock_of_uart(void) {
    tt_enable_uart(RCC_APB1ENR, RCC_APB2ENR);
}

/* 48 MHz from the MSI, which nothing else uses once the core runs from the PLL. */
void tt_clock_of_rng(void) {
    if ((tt_get(RCC_CFGR) & 0xCu) != SWITCHED_TO_PLL) {
        return;
    }
    tt_change(RCC_CR, 0xF8u, MSI_48_MHZ | MSI_ON);
    (void)tt_await(RCC_CR, MSI_READY, MSI_READY, TT_LOOKS);
    tt_change(RCC_CCIPR, 0, 3u << 26);
    tt_enable(RCC_AHB2ENR, 1u << 18);
}

#endif
