/* Instructions of the DSP extension that C does not name. */
#ifndef TT_DSP_H
#define TT_DSP_H

#include <stdint.h>

/* Upper halves of high and low. */
static inline uint32_t dsp_tops(int32_t high, int32_t low) {
    uint32_t d;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(d) : "r"(high), "r"(low));
    return d;
}

/* Lower half of low, and that of high above it. */
static inline uint32_t dsp_pair(int32_t low, int32_t high) {
    uint32_t d;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(d) : "r"(low), "r"(high));
    return d;
}

/* Bytes 0 and 2, 1 and 3, with their signs. */
static inline uint32_t dsp_even(uint32_t x) {
    uint32_t d;
    __asm__("sxtb16 %0, %1" : "=r"(d) : "r"(x));
    return d;
}

static inline uint32_t dsp_odd(uint32_t x) {
    uint32_t d;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(d) : "r"(x));
    return d;
}

/* sum + the two products of halves. */
static inline int32_t dsp_dot(uint32_t a, uint32_t b, int32_t sum) {
    int32_t d;
    __asm__("smlad %0, %1, %2, %3" : "=r"(d) : "r"(a), "r"(b), "r"(sum));
    return d;
}

/* Upper half of sum * 2^32 + a * b. */
static inline int32_t dsp_multiply_high(int32_t a, int32_t b, int32_t sum) {
    int32_t d;
    __asm__("smmla %0, %1, %2, %3" : "=r"(d) : "r"(a), "r"(b), "r"(sum));
    return d;
}

/* Four values + 127 of more than eight bits, 0 and 2, 1 and 3 in halves -> int8 in +-127. */
static inline uint32_t dsp_codes(uint32_t even, uint32_t odd) {
    uint32_t d;
    __asm__("usat16 %0, #8, %1" : "=r"(even) : "r"(even));
    __asm__("usat16 %0, #8, %1" : "=r"(odd) : "r"(odd));
    __asm__("uqadd8 %0, %1, %2" : "=r"(d) : "r"(even | odd << 8), "r"(0x01010101u));
    return d ^ 0x80808080u;
}

/* Four bytes from values of int8, 0 and 2, 1 and 3 in halves; -128 becomes -127. */
static inline uint32_t dsp_bytes(uint32_t even, uint32_t odd) {
    uint32_t d;
    __asm__("uxtb16 %0, %1" : "=r"(even) : "r"(even));
    __asm__("uxtb16 %0, %1" : "=r"(odd) : "r"(odd));
    __asm__("qsub8 %0, %1, %2" : "=r"(d) : "r"(even | odd << 8), "r"(0x01010101u));
    __asm__("qadd8 %0, %1, %2" : "=r"(d) : "r"(d), "r"(0x01010101u));
    return d;
}

/* Four bytes at any address. */
static inline uint32_t dsp_load(const void *from) {
    uint32_t d;
    __builtin_memcpy(&d, from, 4);
    return d;
}

static inline void dsp_store(void *to, uint32_t x) {
    __builtin_memcpy(to, &x, 4);
}

#endif
