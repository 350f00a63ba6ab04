/* Tables of 256 numbers. */
#ifndef TT_LOOK_UP_H
#define TT_LOOK_UP_H

#include "lanes.h"

/* y[i] = table[x[i] + 128]; y may be x. */
static inline void tt_look_up(int8_t *y, const int8_t *x, const int8_t *table, int32_t n) {
    int32_t i = 0;
#if TT_X86 && defined(__AVX512VBMI__) && defined(__AVX512BW__)
    const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
    const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
    for (; i < n; i += 64) {
        const __mmask64 some = n - i < 64 ? ((__mmask64)1 << (n - i)) - 1 : ~(__mmask64)0;
        const __m512i at = _mm512_maskz_loadu_epi8(some, x + i); /* 128 and up: below the middle */
        const __m512i low = _mm512_permutex2var_epi8(t0, at, t1);
        const __m512i high = _mm512_permutex2var_epi8(t2, at, t3);
        const __mmask64 below = _mm512_movepi8_mask(at);
        _mm512_mask_storeu_epi8(y + i, some, _mm512_mask_blend_epi8(below, high, low));
    }
#else
    for (; i < n; i++) {
        y[i] = table[x[i] + 128];
    }
#endif
}

/* at[i] = table[at[i]], at[i] in [0, 256) */
static inline void tt_look_up16(int32_t *at, const uint16_t *table, int32_t n) {
    int32_t i = 0;
#if TT_X86 && defined(__AVX512BW__)
    __m512i t[8];
    for (int32_t k = 0; k < 8; k++) {
        t[k] = _mm512_loadu_si512(table + 32 * k);
    }
    for (; i < n; i += 16) {
        const __mmask16 some = (__mmask16)(n - i < 16 ? (1 << (n - i)) - 1 : 0xFFFF);
        const __m512i v = _mm512_maskz_loadu_epi32(some, at + i);
        const __mmask16 bit6 = _mm512_test_epi32_mask(v, _mm512_set1_epi32(64));
        const __mmask16 bit7 = _mm512_test_epi32_mask(v, _mm512_set1_epi32(128));
        const __m512i low = _mm512_mask_blend_epi32(bit6, _mm512_permutex2var_epi16(t[0], v, t[1]),
                                                    _mm512_permutex2var_epi16(t[2], v, t[3]));
        const __m512i high = _mm512_mask_blend_epi32(bit6, _mm512_permutex2var_epi16(t[4], v, t[5]),
                                                     _mm512_permutex2var_epi16(t[6], v, t[7]));
        const __m512i found = _mm512_mask_blend_epi32(bit7, low, high);
        _mm512_mask_storeu_epi32(at + i, some, _mm512_and_si512(found, _mm512_set1_epi32(0xFFFF)));
    }
#else
    for (; i < n; i++) {
        at[i] = table[at[i]];
    }
#endif
}

#endif
