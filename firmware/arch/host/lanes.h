/* Vectors of the host's widest registers, in the vector extensions of GCC and Clang, and the one
 * operation on them that C does not name: products of bytes. */
#ifndef TT_LANES_H
#define TT_LANES_H

#include <stdint.h>
#include <string.h>

/* TT_PLAIN_LANES: nothing that C does not name, as on a processor that is not known here. */
#if defined(__SSE2__) && !defined(TT_PLAIN_LANES)
#include <immintrin.h>
#define TT_X86 1
#else
#define TT_X86 0
#endif

#if TT_X86 && defined(__AVX512BW__)
#define TT_LANES 16
#elif TT_X86 && defined(__AVX2__)
#define TT_LANES 8
#else
#define TT_LANES 4
#endif

#if TT_LANES == 16 && defined(__AVX512VNNI__)
#define TT_HAS_DOT 1
#else
#define TT_HAS_DOT 0
#endif

typedef int32_t tt_lanes __attribute__((vector_size(4 * TT_LANES)));
typedef uint32_t tt_ulanes __attribute__((vector_size(4 * TT_LANES)));
typedef uint16_t tt_numbers __attribute__((vector_size(2 * TT_LANES)));
typedef int8_t tt_bytes __attribute__((vector_size(TT_LANES)));
typedef int16_t tt_halves __attribute__((vector_size(4 * TT_LANES)));

static inline tt_ulanes tt_all(uint32_t x) {
    return (tt_ulanes){0} + x;
}

/* Sums of the two products of each lane. */
static inline tt_ulanes tt_pairs(tt_ulanes a, tt_ulanes b) {
#if TT_LANES == 16
    return (tt_ulanes)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif TT_LANES == 8
    return (tt_ulanes)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif TT_X86
    return (tt_ulanes)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    const tt_lanes p = (tt_lanes)(a << 16) >> 16, q = (tt_lanes)(b << 16) >> 16;
    return (tt_ulanes)(p * q + ((tt_lanes)a >> 16) * ((tt_lanes)b >> 16));
#endif
}

/* Four bytes of each lane, ready for tt_dot. */
typedef struct {
    tt_ulanes even, odd;
} tt_quads;

static inline tt_quads tt_signed_quads(const void *at) {
    tt_ulanes v;
    memcpy(&v, at, sizeof v);
#if TT_HAS_DOT
    __asm__("" : "+v"(v)); /* loaded once: GCC would load it again for every use */
    const tt_quads q = {v, v};
#else
    const tt_quads q = {(tt_ulanes)((tt_halves)(v << 8) >> 8), (tt_ulanes)((tt_halves)v >> 8)};
#endif
    return q;
}

/* Parts that the left bytes of tt_dot come in: whole, or the even ones and the odd ones of four. */
#define TT_PARTS (TT_HAS_DOT ? 1 : 2)

/* acc + the sum of the four products of each lane: bytes 0 .. 255, the same in all lanes, in parts
 * (whole: the first), and signed bytes of b. */
static inline tt_ulanes tt_dot(tt_ulanes acc, uint32_t first, uint32_t second, tt_quads b) {
#if TT_HAS_DOT
    (void)second;
    return (tt_ulanes)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)tt_all(first), (__m512i)b.even);
#else
    return acc + tt_pairs(tt_all(first), b.even) + tt_pairs(tt_all(second), b.odd);
#endif
}

#endif
