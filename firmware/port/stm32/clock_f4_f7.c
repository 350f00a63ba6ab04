/* Clocks of STM32F4 (RM0090, RM0383, RM0390) and F7 (RM0385): PLL input 1 MHz, VCO twice the core. */
#include "stm32.h"

#if defined(TT_STM32_F4) || defined(TT_STM32_F7)

#define RCC 0x40023800u
#define RCC_CR (RCC + 0x00u)
#define RCC_PLLCFGR (RCC + 0x04u)
#define RCC_CFGR (RCC + 0x08u)
#define RCC_AHB1ENR (RCC + 0x30u)
#define RCC_AHB2ENR (RCC + 0x34u)
#define RCC_APB1ENR (RCC + 0x40u)
#define RCC_APB2ENR (RCC + 0x44u)
#define PWR_CR 0x40007000u
#define PWR_CSR 0x40007004u
#define FLASH_ACR 0x40023C00u

#define PLL_ON (1u << 24)
#define PLL_READY (1u << 25)
#define PLL_OF_HSE (1u << 22)
#define SWITCH_TO_PLL 2u
#define SWITCHED_TO_PLL (2u << 2)
#define BUSES_4_2 (5u << 10 | 4u << 13) /* APB1 a quarter, APB2 half of the core's clock */
#define POWER_CLOCK (1u << 28)
#define SCALE_1 (1u << 14) /* the upper of two bits is set after reset, where there are two */
#define OVERDRIVE (1u << 16)
#define OVERDRIVE_SWITCH (1u << 17)

#define HSI_HZ 16000000u
#define CORE_MHZ (TT_CORE_HZ / 1000000u)
#define WAIT_STATES ((TT_CORE_HZ - 1u) / 30000000u) /* at 2.7 to 3.6 V */
#ifdef TT_STM32_F7
#define NEEDS_OVERDRIVE (TT_CORE_HZ > 180000000u)
#define FLASH_SPEED (1u << 9 | 1u << 8) /* accelerator, prefetch */
#else
#define NEEDS_OVERDRIVE (TT_CORE_HZ > 168000000u)
#define FLASH_SPEED (1u << 10 | 1u << 9 | 1u << 8) /* data and instruction cache, prefetch */
#endif

/* Above the speed of scale 1 the regulator gives more, asked for while the PLL locks. */
static int32_t overdrive(void) {
    tt_change(PWR_CR, 0, OVERDRIVE);
    if (!tt_await(PWR_CSR, OVERDRIVE, OVERDRIVE, TT_LOOKS)) {
        return 0;
    }
    tt_change(PWR_CR, 0, OVERDRIVE_SWITCH);
    return tt_await(PWR_CSR, OVERDRIVE_SWITCH, OVERDRIVE_SWITCH, TT_LOOKS);
}

tt_clocks tt_clock_start(void) {
    const tt_clocks slow = {HSI_HZ, HSI_HZ, HSI_HZ};
    const tt_clocks full = {TT_CORE_HZ, TT_CORE_HZ / 4u, TT_CORE_HZ / 2u};
    tt_enable(RCC_APB1ENR, POWER_CLOCK);
    tt_change(PWR_CR, 0, SCALE_1);
    const uint32_t hse = tt_hse_runs(RCC_CR);
    const uint32_t m = (hse ? TT_HSE_HZ : HSI_HZ) / 1000000u;
    const uint32_t q = (2u * CORE_MHZ + 47u) / 48u; /* at most 48 MHz for the random numbers */
    tt_change(RCC_PLLCFGR, 0x0F437FFFu,
              m | (2u * CORE_MHZ) << 6 | (hse ? PLL_OF_HSE : 0u) | q << 24); /* P = 2 */
    tt_change(RCC_CR, 0, PLL_ON);
    if ((NEEDS_OVERDRIVE && !overdrive()) || !tt_await(RCC_CR, PLL_READY, PLL_READY, TT_LOOKS)) {
        tt_change(RCC_CR, PLL_ON, 0);
        return slow;
    }
    tt_change(FLASH_ACR, 0xFu, WAIT_STATES | FLASH_SPEED);
    if (!tt_await(FLASH_ACR, 0xFu, WAIT_STATES, TT_LOOKS)) {
        return slow;
    }
    tt_change(RCC_CFGR, 0xFCF0u, BUSES_4_2);
    tt_change(RCC_CFGR, 3u, SWITCH_TO_PLL);
    (void)tt_await(RCC_CFGR, 0xCu, SWITCHED_TO_PLL,
                   TT_LOOKS); /* a few cycles: the PLL has locked */
    return full;
}

void tt_clock_of_gpio(uint32_t port) {
    tt_enable(RCC_AHB1ENR, 1u << port);
}

void tt_clock_of_uart(void) {
    tt_enable_uart(RCC_APB1ENR, RCC_APB2ENR);
}

void tt_clock_of_rng(void) {
    tt_enable(RCC_AHB2ENR, 1u << 6);
}

#endif
