/* Rows of gradients as the host makes them: a chunk of accumulators, then its random numbers, then
 * loops without branches, which compilers turn into vectors. */
#ifndef TT_CHUNKS_H
#define TT_CHUNKS_H

#include <string.h>

#include "tinytrain/tt_math.h"

#define TT_CHUNK 512

static inline int32_t tt_least(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* Random numbers of a chunk, as they are made and as 16-bit integers. */
typedef union {
    uint32_t pairs[TT_CHUNK / 2 + 1];
    uint16_t numbers[TT_CHUNK + 2];
} tt_draws;

/* numbers[(first & 1) + i]: number first + i of a stream, i < n <= TT_CHUNK. */
static inline void tt_draw(tt_draws *draws, uint32_t key, uint32_t first, int32_t n) {
    const uint32_t start = key + (first >> 1) * TT_GOLDEN;
    const int32_t pairs = (n + 1 + (int32_t)(first & 1u)) / 2;
    for (int32_t i = 0; i < pairs; i++) {
        const uint32_t r = tt_mix(start + (uint32_t)i * TT_GOLDEN);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        draws->pairs[i] = r << 16 | r >> 16;
#else
        draws->pairs[i] = r;
#endif
    }
}

/* out[i] = tt_stochastic_shift(acc[i], shift, key, first + i), n <= TT_CHUNK. */
static inline void tt_shift_chunk(int8_t *restrict out, const int32_t *restrict acc, int32_t n,
                                  int32_t shift, uint32_t key, uint32_t first) {
    if (shift > 30) {
        memset(out, 0, (size_t)n);
        return;
    }
    if (shift == 0) {
        for (int32_t i = 0; i < n; i++) {
            out[i] = (int8_t)tt_clamp(acc[i], 127);
        }
        return;
    }
    tt_draws draws;
    tt_draw(&draws, key, first, n);
    const int32_t odd = (int32_t)(first & 1u);
    const int32_t down = 30 - shift; /* of the 16 bits of a number `shift` count */
    for (int32_t i = 0; i < n; i++) {
        const int32_t part = (int32_t)(((uint32_t)draws.numbers[odd + i] << 14) >> down);
        out[i] = (int8_t)tt_clamp((acc[i] + part) >> shift, 127);
    }
}

/* The same of n codes, all of a row; out may be codes. */
static inline void tt_shift_codes(int8_t *out, const int8_t *codes, int32_t n, int32_t shift,
                                  uint32_t key, uint32_t first) {
    int32_t acc[TT_CHUNK];
    for (int32_t at = 0; at < n; at += TT_CHUNK) {
        const int32_t size = tt_least(n - at, TT_CHUNK);
        for (int32_t i = 0; i < size; i++) {
            acc[i] = codes[at + i];
        }
        tt_shift_chunk(out + at, acc, size, shift, key, first + (uint32_t)at);
    }
}

static inline int32_t tt_chunk_peak(const int32_t *acc, int32_t n) {
    int32_t peak = 0;
    for (int32_t i = 0; i < n; i++) {
        const int32_t a = tt_abs(acc[i]);
        peak = a > peak ? a : peak;
    }
    return peak;
}

/* tt_quantize_row of accumulators that share no bytes with out. */
static inline int16_t tt_quantize(int8_t *out, const int32_t *acc, int32_t n, int32_t base,
                                  uint32_t key, uint32_t first) {
    const int32_t peak = tt_chunk_peak(acc, n), shift = tt_gradient_shift(peak);
    for (int32_t at = 0; at < n; at += TT_CHUNK) {
        tt_shift_chunk(out + at, acc + at, tt_least(n - at, TT_CHUNK), shift, key,
                       first + (uint32_t)at);
    }
    return tt_row_exponent(peak, base);
}

/* Accumulators at .. at + n - 1 of a row. */
typedef void tt_fill(int32_t *restrict acc, const void *row, int32_t at, int32_t n);

/* tt_quantize_row of accumulators that are made where they are needed; out may share bytes with what
 * they are made from, element by element. */
static inline __attribute__((always_inline)) int16_t tt_gradient_row(int8_t *out, int32_t n,
                                                                     int32_t base, uint32_t key,
                                                                     uint32_t first, tt_fill *fill,
                                                                     const void *row) {
    int32_t acc[TT_CHUNK];
    int32_t peak = 0;
    for (int32_t at = 0; at < n; at += TT_CHUNK) {
        const int32_t size = tt_least(n - at, TT_CHUNK);
        fill(acc, row, at, size);
        const int32_t most = tt_chunk_peak(acc, size);
        peak = most > peak ? most : peak;
    }
    const int32_t shift = tt_gradient_shift(peak);
    for (int32_t at = 0; at < n; at += TT_CHUNK) {
        const int32_t size = tt_least(n - at, TT_CHUNK);
        if (n > TT_CHUNK) {
            fill(acc, row, at, size);
        }
        tt_shift_chunk(out + at, acc, size, shift, key, first + (uint32_t)at);
    }
    return tt_row_exponent(peak, base);
}

#endif
