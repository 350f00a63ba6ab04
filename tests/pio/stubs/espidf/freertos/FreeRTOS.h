#pragma once
#include <stdint.h>

typedef uint32_t TickType_t;
typedef unsigned int UBaseType_t;
#define portMAX_DELAY ((TickType_t)0xFFFFFFFFu)
#define CONFIG_ESP_MAIN_TASK_STACK_SIZE 4096
