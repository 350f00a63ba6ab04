/* Rows of gradients as the host makes them: a chunk of accumulators, then its random numbers, then
 * loops without branches, which compilers turn into vectors. */
#ifndef TT_CHUNKS_H
#define TT_CHUNKS_H

#include "lanes.h"
#include "sizes.h"
#include "tinytrain/tt_math.h"

static inline int32_t tt_least(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* Random numbers of a chunk, as they are made and as 16-bit integers; room behind for whole vectors. */
typedef union {
    uint32_t pairs[TT_CHUNK / 2 + 2 * TT_LANES];
    uint16_t numbers[TT_CHUNK + 4 * TT_LANES];
} tt_draws;

/* numbers[(first & 1) + i]: number first + i of a stream, i < n <= TT_CHUNK. */
static inline void tt_draw(tt_draws *draws, uint32_t key, uint32_t first, int32_t n) {
    const int32_t pairs = (n + 1 + (int32_t)(first & 1u)) / 2;
    tt_ulanes at = {0};
    for (int32_t i = 0; i < TT_LANES; i++) {
        at[i] = key + ((first >> 1) + (uint32_t)i) * TT_GOLDEN;
    }
    for (int32_t i = 0; i < pairs; i += TT_LANES, at += TT_LANES * TT_GOLDEN) {
        tt_ulanes r = at ^ at >> 16; /* tt_mix */
        r *= 0x7FEB352Du;
        r ^= r >> 15;
        r *= 0x846CA68Bu;
        r ^= r >> 16;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        r = r << 16 | r >> 16;
#endif
        memcpy(draws->pairs + i, &r, sizeof r);
    }
}

/* One vector of tt_shift_chunk, 0 < shift <= 30. */
static inline void tt_shift_lanes(int8_t *out, const int32_t *acc, const uint16_t *noise,
                                  int32_t shift) {
    tt_lanes v;
    tt_numbers r;
    memcpy(&v, acc, sizeof v);
    memcpy(&r, noise, sizeof r);
    /* Of the 16 bits of a number `shift` count. */
    v += (tt_lanes)(__builtin_convertvector(r, tt_ulanes) << 14 >> (30 - shift));
    v >>= shift;
    v += v == 128;
    v -= v == -128;
    const tt_bytes codes = __builtin_convertvector(v, tt_bytes);
    memcpy(out, &codes, sizeof codes);
}

/* out[i] = tt_stochastic_shift(acc[i], shift, key, first + i), n <= TT_CHUNK, |acc| < 2^(7 + shift);
 * out shares no bytes with acc. */
static inline void tt_shift_chunk(int8_t *restrict out, const int32_t *restrict acc, int32_t n,
                                  int32_t shift, uint32_t key, uint32_t first) {
    if (shift > 30) {
        memset(out, 0, (size_t)n);
        return;
    }
    if (shift == 0) {
        for (int32_t i = 0; i < n; i++) {
            out[i] = (int8_t)acc[i];
        }
        return;
    }
    tt_draws draws;
    tt_draw(&draws, key, first, n);
    const uint16_t *noise = draws.numbers + (first & 1u);
    int32_t i = 0;
    for (; i + TT_LANES <= n; i += TT_LANES) {
        tt_shift_lanes(out + i, acc + i, noise + i, shift);
    }
    if (i < n) {
        int32_t rest[TT_LANES] = {0};
        int8_t codes[TT_LANES];
        memcpy(rest, acc + i, (size_t)(n - i) * sizeof *acc);
        tt_shift_lanes(codes, rest, noise + i, shift);
        memcpy(out + i, codes, (size_t)(n - i));
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

/* A number with as many bits as the largest |acc|, 0 only where all are. */
static inline int32_t tt_chunk_peak(const int32_t *acc, int32_t n) {
    tt_lanes bits = {0};
    int32_t i = 0;
    for (; i < n; i += TT_LANES) {
        tt_lanes v = {0};
        if (i + TT_LANES <= n) {
            memcpy(&v, acc + i, sizeof v);
        } else {
            memcpy(&v, acc + i, (size_t)(n - i) * sizeof *acc);
        }
        bits |= (v ^ v >> 31) - (v >> 31);
    }
    int32_t peak = 0;
    for (i = 0; i < TT_LANES; i++) {
        peak |= bits[i];
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
        peak |= tt_chunk_peak(acc, size);
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
