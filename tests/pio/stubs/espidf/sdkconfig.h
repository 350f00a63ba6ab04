/* Of a project whose sdkconfig.defaults asks for PSRAM. */
#ifndef WITHOUT_PSRAM
#define CONFIG_SPIRAM 1
#define CONFIG_SPIRAM_ALLOW_BSS_SEG_EXTERNAL_MEMORY 1
#endif
