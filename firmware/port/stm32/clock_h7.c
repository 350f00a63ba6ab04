/* Clocks of STM32H743 (RM0433): PLL input 2 MHz, VCO twice the core, AXI half of it, buses a quarter. */
#include "stm32.h"

#ifdef TT_STM32_H7

#define RCC 0x58024400u
#define RCC_CR (RCC + 0x00u)
#define RCC_CFGR (RCC + 0x10u)
#define RCC_D1CFGR (RCC + 0x18u)
#define RCC_D2CFGR (RCC + 0x1Cu)
#define RCC_D3CFGR (RCC + 0x20u)
#define RCC_PLLCKSELR (RCC + 0x28u)
#define RCC_PLLCFGR (RCC + 0x2Cu)
#define RCC_PLL1DIVR (RCC + 0x30u)
#define RCC_AHB2ENR (RCC + 0xDCu)
#define RCC_AHB4ENR (RCC + 0xE0u)
#define RCC_APB1LENR (RCC + 0xE8u)
#define RCC_APB2ENR (RCC + 0xF0u)
#define PWR_CSR1 0x58024804u
#define PWR_CR3 0x5802480Cu
#define PWR_D3CR 0x58024818u
#define FLASH_ACR 0x52002000u

#define DEVICE_ID 0x5C001000u
#define REVISION_V 0x20000000u
#define AXI_SRAM_ISSUES 0x51008108u

#define HSI48_ON (1u << 12)
#define HSI48_READY (1u << 13)
#define PLL_ON (1u << 24)
#define PLL_READY (1u << 25)
#define PLL_OF_HSE 2u
#define SWITCH_TO_PLL 3u
#define SWITCHED_TO_PLL (3u << 3)
#define LDO 2u
#define SUPPLY 7u /* LDO, bypass, and the bit that lets them be written */
#define VOLTAGE_READY (1u << 13)
#define SCALE_1 (3u << 14)
#define SRAM_1_2_3 (7u << 29)

#define HSI_HZ 64000000u
#define CORE_MHZ (TT_CORE_HZ / 1000000u)
#define FLASH_200_MHZ 0x22u /* two wait states, signal delay 2: AXI up to 210 MHz at scale 1 */

tt_clocks tt_clock_start(void) {
    const tt_clocks slow = {HSI_HZ, HSI_HZ, HSI_HZ};
    const tt_clocks full = {TT_CORE_HZ, TT_CORE_HZ / 4u, TT_CORE_HZ / 4u};
    tt_enable(RCC_AHB2ENR, SRAM_1_2_3);
    if (tt_get(DEVICE_ID) < REVISION_V) {
        tt_set(AXI_SRAM_ISSUES, 1u); /* ES0392: reads of the AXI SRAM one by one, or wrong */
    }
    tt_change(PWR_CR3, SUPPLY,
              LDO); /* written once after power-on; until then the voltage is fixed */
    if (!tt_await(PWR_CSR1, VOLTAGE_READY, VOLTAGE_READY, TT_LOOKS)) {
        return slow;
    }
    tt_change(PWR_D3CR, 0, SCALE_1);
    if (!tt_await(PWR_D3CR, VOLTAGE_READY, VOLTAGE_READY, TT_LOOKS)) {
        return slow;
    }
    const uint32_t hse = tt_hse_runs(RCC_CR);
    const uint32_t m = (hse ? TT_HSE_HZ : HSI_HZ) / 2000000u;
    tt_change(RCC_PLLCKSELR, 0x3F3u, m << 4 | (hse ? PLL_OF_HSE : 0u));
    tt_change(RCC_PLLCFGR, 0xFu, 1u << 2 | 1u << 16); /* input 2 to 4 MHz, wide VCO, output P */
    tt_change(RCC_PLL1DIVR, 0xFFFFu, (CORE_MHZ - 1u) | 1u << 9); /* N = core, P = 2 */
    tt_change(RCC_CR, 0, PLL_ON);
    if (!tt_await(RCC_CR, PLL_READY, PLL_READY, TT_LOOKS)) {
        tt_change(RCC_CR, PLL_ON, 0);
        return slow;
    }
    tt_change(FLASH_ACR, 0x3Fu, FLASH_200_MHZ);
    if (!tt_await(FLASH_ACR, 0x3Fu, FLASH_200_MHZ, TT_LOOKS)) {
        return slow;
    }
    tt_change(RCC_D1CFGR, 0xF7Fu, 8u | 4u << 4); /* core 1, AXI and AHB half, APB3 half of that */
    tt_change(RCC_D2CFGR, 0x770u, 4u << 4 | 4u << 8);
    tt_change(RCC_D3CFGR, 0x70u, 4u << 4);
    tt_change(RCC_CFGR, 7u, SWITCH_TO_PLL);
    (void)tt_await(RCC_CFGR, 0x38u, SWITCHED_TO_PLL, TT_LOOKS);
    return full;
}

void tt_clock_of_gpio(uint32_t port) {
    tt_enable(RCC_AHB4ENR, 1u << port);
}

void tt_clock_of_uart(void) {
    tt_enable_uart(RCC_APB1LENR, RCC_APB2ENR);
}

void tt_clock_of_rng(void) {
    tt_change(RCC_CR, 0, HSI48_ON);
    (void)tt_await(RCC_CR, HSI48_READY, HSI48_READY, TT_LOOKS);
    tt_enable(RCC_AHB2ENR, 1u << 6);
}

#endif
