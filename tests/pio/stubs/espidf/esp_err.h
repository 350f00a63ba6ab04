/* What the port uses of ESP-IDF 5, for a check of its syntax. Prototypes as in the programming guide. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int esp_err_t;
#define ESP_OK 0
#define ESP_ERROR_CHECK(x) ((void)(x))
