#pragma GCC optimize("Os") /* the loops are assembly */

#include "dsp.h"
#include "tinytrain/tt_gradient.h"

/* Bits of 8 * turns values, turns > 0: less 127, a saturated byte is 0 or 2, which unsigned is at
 * most 2; its bit is taken then, and the bits of four bytes are added. */
__attribute__((naked, noinline)) static void mask_bytes(uint8_t *bits __attribute__((unused)),
                                                        const int8_t *y __attribute__((unused)),
                                                        int32_t turns __attribute__((unused))) {
    /* clang-format off */
    __asm__ volatile("push {r4-r9}\n"
                     "mov r3, #0x81818181\n"
                     "mov r4, #0x02020202\n"
                     "movw r5, #0x0201\n"
                     "movt r5, #0x0804\n"
                     "lsl r6, r5, #4\n"
                     "mov r7, #0\n"
                     "1:\n"
                     "ldr r9, [r1, #4]\n"
                     "ldr r8, [r1], #8\n"
                     "uadd8 r8, r8, r3\n"
                     "usub8 r8, r4, r8\n"
                     "sel r8, r5, r7\n"
                     "uadd8 r9, r9, r3\n"
                     "usub8 r9, r4, r9\n"
                     "sel r9, r6, r7\n"
                     "usad8 r8, r8, r7\n"
                     "usada8 r8, r9, r7, r8\n"
                     "strb r8, [r0], #1\n"
                     "subs r2, #1\n"
                     "bne 1b\n"
                     "pop {r4-r9}\n"
                     "bx lr\n");
    /* clang-format on */
}

void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t T, int32_t C) {
    if ((C & 7) == 0) { /* rows without a gap */
        C *= T;
        T = 1;
    }
    for (; T > 0; T--) {
        if (C >= 8) {
            mask_bytes(bits, y, C >> 3);
        }
        bits += C >> 3;
        y += C & ~7;
        for (int32_t i = 0; i < (C & 7); i++, y++) {
            *bits = (uint8_t)((i > 0 ? *bits : 0) | (*y == 127 || *y == -127) << i);
        }
        bits += (C & 7) != 0;
    }
}

/* 8 * turns gradients, turns > 0: bits select between 0 and g. */
__attribute__((naked, noinline)) static void clip_bytes(int8_t *out __attribute__((unused)),
                                                        const int8_t *g __attribute__((unused)),
                                                        const uint8_t *bits __attribute__((unused)),
                                                        int32_t turns __attribute__((unused))) {
    /* clang-format off */
    __asm__ volatile("push {r4-r7}\n"
                     "mov r7, #0\n"
                     "1:\n"
                     "ldrb r4, [r2], #1\n"
                     "ldr r6, [r1, #4]\n"
                     "ldr r5, [r1], #8\n"
                     "lsl r12, r4, #16\n"
                     "msr APSR_g, r12\n"
                     "sel r5, r7, r5\n"
                     "lsl r12, r4, #12\n"
                     "msr APSR_g, r12\n"
                     "sel r6, r7, r6\n"
                     "str r6, [r0, #4]\n"
                     "str r5, [r0], #8\n"
                     "subs r3, #1\n"
                     "bne 1b\n"
                     "pop {r4-r7}\n"
                     "bx lr\n");
    /* clang-format on */
}

void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t T, int32_t C) {
    if ((C & 7) == 0) {
        C *= T;
        T = 1;
    }
    for (; T > 0; T--) {
        if (C >= 8) {
            clip_bytes(out, g, bits, C >> 3);
        }
        bits += C >> 3;
        out += C & ~7;
        g += C & ~7;
        for (int32_t i = 0; i < (C & 7); i++) {
            *out++ = *bits >> i & 1 ? 0 : *g;
            g++;
        }
        bits += (C & 7) != 0;
    }
}
