/* Assembly that makes panels of rows at multiples of 4. */
#ifndef TT_EXPAND_H
#define TT_EXPAND_H

#include <stdint.h>

/* clang-format off */
/* Two rows as panels, sixteen columns a turn; EXTRACT(d, s, byte): the pair of bytes from `byte` on. */
#define EXPAND_8(EXTRACT)             \
    "ldmia r1!, {r4, r5}\n"           \
    "ldmia r2!, {r6, r7}\n"           \
    EXTRACT("r8", "r4", "0")          \
    EXTRACT("r9", "r6", "0")          \
    EXTRACT("r10", "r4", "1")         \
    EXTRACT("r11", "r6", "1")         \
    "stmia r0!, {r8, r9, r10, r11}\n" \
    EXTRACT("r8", "r5", "0")          \
    EXTRACT("r9", "r7", "0")          \
    EXTRACT("r10", "r5", "1")         \
    EXTRACT("r11", "r7", "1")         \
    "stmia r0!, {r8, r9, r10, r11}\n"
#define EXPAND_FUNCTION(name, CONSTANTS, EXTRACT)                                              \
    __attribute__((naked, noinline)) static void name(                                         \
        uint32_t *p __attribute__((unused)), const int8_t *a __attribute__((unused)),          \
        const int8_t *b __attribute__((unused)), int32_t turns __attribute__((unused)),        \
        int32_t shift __attribute__((unused))) {                                               \
        __asm__ volatile("push {r4-r11, lr}\n" CONSTANTS "1:\n"                                \
                         EXPAND_8(EXTRACT) EXPAND_8(EXTRACT)                                   \
                         "subs r3, #1\n"                                                       \
                         "bne 1b\n"                                                            \
                         "pop {r4-r11, pc}\n");                                                \
    }

#define EXTRACT_PLAIN(d, s, byte) "sxtb16 " d ", " s ", ror #(8*" byte ")\n"
/* clang-format on */

#endif
