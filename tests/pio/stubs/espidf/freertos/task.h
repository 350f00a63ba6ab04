#pragma once
#include "freertos/FreeRTOS.h"

typedef void *TaskHandle_t;
void vTaskDelay(TickType_t ticks);
UBaseType_t uxTaskGetStackHighWaterMark(TaskHandle_t task);
