/* ESP-IDF 5: the driver of UART 0; the state in a raw data partition named "tinytrain". */
#include "tinytrain/tt_port.h"

#include "driver/uart.h"
#include "esp_partition.h"
#include "esp_random.h"
#include "esp_system.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#define UART UART_NUM_0
#define RECEIVE_BYTES 1024
#define FLASH_UNIT 16u /* what encrypted flash is written in */
#define SECTOR_BYTES 4096u

void tt_port_start(void); /* called by app_main */

void tt_port_start(void) {
    const uart_config_t config = {
        .baud_rate = TT_UART_BAUD,
        .data_bits = UART_DATA_8_BITS,
        .parity = UART_PARITY_DISABLE,
        .stop_bits = UART_STOP_BITS_1,
        .flow_ctrl = UART_HW_FLOWCTRL_DISABLE,
        .source_clk = UART_SCLK_DEFAULT,
    };
    ESP_ERROR_CHECK(uart_driver_install(UART, RECEIVE_BYTES, 0, 0, NULL, 0));
    ESP_ERROR_CHECK(uart_param_config(UART, &config));
}

int32_t tt_port_read(void) {
    uint8_t byte;
    return uart_read_bytes(UART, &byte, 1, 0) == 1 ? byte : -1;
}

void tt_port_write(const uint8_t *bytes, uint32_t count) {
    uart_write_bytes(UART, bytes, count);
}

void tt_port_idle(void) {
    vTaskDelay(1);
}

void tt_port_exit(int32_t status) {
    (void)status;
    uart_wait_tx_done(UART, portMAX_DELAY);
    esp_restart();
}

uint32_t tt_port_time_us(void) {
    return (uint32_t)esp_timer_get_time() & TT_PORT_TIME_MASK;
}

uint32_t tt_port_stack_bytes(void) {
    return CONFIG_ESP_MAIN_TASK_STACK_SIZE;
}

uint32_t tt_port_stack_used(void) {
    return CONFIG_ESP_MAIN_TASK_STACK_SIZE - uxTaskGetStackHighWaterMark(NULL);
}

uint32_t tt_port_random(void) {
    return esp_random();
}

/* ---- flash ---- */

static const esp_partition_t *partition(void) {
    return esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY,
                                    "tinytrain");
}

/* Each slot is half of it, in whole sectors. */
uint32_t tt_port_flash_bytes(uint32_t slot) {
    const esp_partition_t *found = partition();
    (void)slot;
    return found ? (uint32_t)found->size / 2u / SECTOR_BYTES * SECTOR_BYTES : 0;
}

static int32_t inside(uint32_t slot, uint32_t offset, uint32_t count) {
    const uint32_t bytes = tt_port_flash_bytes(slot);
    return offset <= bytes && count <= bytes - offset;
}

uint32_t tt_port_flash_unit(void) {
    return FLASH_UNIT;
}

int32_t tt_port_flash_read(uint32_t slot, uint32_t offset, uint8_t *out, uint32_t count) {
    const uint32_t at = slot * tt_port_flash_bytes(slot) + offset;
    return inside(slot, offset, count) && esp_partition_read(partition(), at, out, count) == ESP_OK
               ? 0
               : -1;
}

int32_t tt_port_flash_erase(uint32_t slot) {
    const uint32_t bytes = tt_port_flash_bytes(slot);
    return bytes && esp_partition_erase_range(partition(), slot * bytes, bytes) == ESP_OK ? 0 : -1;
}

int32_t tt_port_flash_program(uint32_t slot, uint32_t offset, const uint8_t *bytes,
                              uint32_t count) {
    const uint32_t at = slot * tt_port_flash_bytes(slot) + offset;
    return inside(slot, offset, count) &&
                   esp_partition_write(partition(), at, bytes, count) == ESP_OK
               ? 0
               : -1;
}
