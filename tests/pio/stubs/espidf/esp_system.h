#pragma once

_Noreturn void esp_restart(void);
