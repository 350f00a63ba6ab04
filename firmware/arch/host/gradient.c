#include "tinytrain/tt_gradient.h"

#include "rows.h"

#define EACH 0x0101010101010101u /* a one in each byte */

/* Flags of n elements, one a byte, that are 0 or 1 << (i & 7): those of eight have no bit in common,
 * so that their sum is the byte of the mask. */
static inline void pack(uint8_t *bits, const uint8_t *flags, int32_t n) {
    for (int32_t i = 0; i < n; i += 8) {
        uint64_t eight = 0;
        memcpy(&eight, flags + i, 8);
        bits[i >> 3] = (uint8_t)(eight * EACH >> 56);
    }
}

void tt_clip_mask_u8(uint8_t *bits, const int8_t *y, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, y += C, bits += (C + 7) / 8) {
        for (int32_t at = 0; at < C; at += TT_CHUNK) {
            const int32_t n = tt_least(C - at, TT_CHUNK);
            uint8_t flags[TT_CHUNK + 8];
            for (int32_t i = 0; i < n; i++) {
                const int8_t v = y[at + i];
                flags[i] = (uint8_t)((v == 127) | (v == -127)) << (i & 7);
            }
            memset(flags + n, 0, 8);
            pack(bits + (at >> 3), flags, n);
        }
    }
}

/* Eight bytes, 0xFF where the mask has a bit. */
static inline uint64_t spread(uint8_t bits) {
    const uint64_t one = (bits * EACH) & 0x8040201008040201u; /* bit i in byte i */
    return ((one + 0x7F * EACH) >> 7 & EACH) * 0xFF;
}

void tt_clip_grad_s8(int8_t *out, const int8_t *g, const uint8_t *bits, int32_t T, int32_t C) {
    for (int32_t t = 0; t < T; t++, out += C, g += C, bits += (C + 7) / 8) {
        int32_t i = 0;
        for (; i + 8 <= C; i += 8) {
            uint64_t eight;
            memcpy(&eight, g + i, 8);
            eight &= ~spread(bits[i >> 3]);
            memcpy(out + i, &eight, 8);
        }
        for (; i < C; i++) {
            out[i] = (bits[i >> 3] >> (i & 7)) & 1 ? 0 : g[i];
        }
    }
}

/* One operand of a sum: value * factor >> shift. */
typedef struct {
    const int8_t *at;
    int32_t factor;
    int32_t shift;
} operand;

typedef struct {
    operand a, b;
} operands;

/* A row brought down by so many bits; over 30 leave nothing of it. */
static operand shifted(const int8_t *at, int32_t factor, int32_t down) {
    const operand o = {at, down > 30 ? 0 : factor, down > 30 ? 0 : down};
    return o;
}

static void sums_of(int32_t *restrict acc, const void *row, int32_t at, int32_t n) {
    const operand a = ((const operands *)row)->a, b = ((const operands *)row)->b;
    for (int32_t i = 0; i < n; i++) {
        acc[i] = ((a.at[at + i] * a.factor) >> a.shift) + ((b.at[at + i] * b.factor) >> b.shift);
    }
}

void tt_grad_add_s8(int8_t *out, int16_t *out_exp, const int8_t *a, const int16_t *a_exp,
                    const int8_t *b, const int16_t *b_exp, const tt_step *st, int32_t T, int32_t C,
                    int32_t rho_q14, int32_t rho_e, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    for (int32_t t = 0; t < T; t++) {
        const int32_t ea = a_exp[t], eb = b_exp[t] + rho_e, e = ea > eb ? ea : eb;
        const operands row = {shifted(a + t * C, 1 << 14, e - ea),
                              shifted(b + t * C, rho_q14, e - eb)};
        out_exp[t] = tt_gradient_row(out + t * C, C, e - 14, key, (uint32_t)((st->row + t) * C),
                                     sums_of, &row);
    }
}

void tt_align_grad_s8(int8_t *out, int16_t *out_exp, const int8_t *g, const int16_t *g_exp,
                      const tt_step *st, int32_t T, int32_t C, int32_t stream) {
    const uint32_t key = tt_key(st, stream);
    int32_t e = g_exp[0];
    for (int32_t t = 1; t < T; t++) {
        e = g_exp[t] > e ? g_exp[t] : e;
    }
    for (int32_t t = 0; t < T; t++) {
        tt_shift_codes(out + t * C, g + t * C, C, e - g_exp[t], key, (uint32_t)(t * C));
    }
    out_exp[0] = (int16_t)e;
}
