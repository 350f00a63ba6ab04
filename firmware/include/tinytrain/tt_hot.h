/* TT_HOT marks the functions of the kernels that most of a step is spent in. On an ESP32, where
 * model_uses.h asks for it, they lie in the sections that its frameworks' linker scripts put into
 * IRAM. A linker script of tinytrain chooses by file instead: HOT in tinytrain/toolchain/build.py. */
#ifndef TT_HOT_H
#define TT_HOT_H

#include "tinytrain/tt_uses.h"

#if TT_USES_IRAM
#define TT_HOT_TEXT(number) #number
#define TT_HOT_SECTION(number) __attribute__((section(".iram1." TT_HOT_TEXT(number))))
#define TT_HOT TT_HOT_SECTION(__COUNTER__) /* one each, so that the linker may leave one out */
#else
#define TT_HOT
#endif

#endif
