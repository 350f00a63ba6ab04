/* Tables of 256 bytes. */
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

#endif
