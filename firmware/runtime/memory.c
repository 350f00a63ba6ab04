/* The four functions that a compiler may call by itself; boards are linked without a C library.
 * They are simple loops, which the compiler must not turn into calls of themselves. */
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *a, const void *b, size_t count);

#ifdef __clang__
#define NO_CALLS
#else
#define NO_CALLS __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

/* Whole words where both ends allow it. may_alias: the words stand for any type. */
typedef uint32_t __attribute__((may_alias)) word;

static inline int32_t aligned(const void *p) {
    return ((uintptr_t)p & 3u) == 0;
}

NO_CALLS void *memcpy(void *restrict to, const void *restrict from, size_t count) {
    uint8_t *d = to;
    const uint8_t *s = from;
    if (aligned(d) && aligned(s)) {
        for (; count >= 4; count -= 4, d += 4, s += 4) {
            *(word *)(void *)d = *(const word *)(const void *)s;
        }
    }
    while (count-- > 0) {
        *d++ = *s++;
    }
    return to;
}

NO_CALLS void *memmove(void *to, const void *from, size_t count) {
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((uintptr_t)d <= (uintptr_t)s) {
        while (count-- > 0) {
            *d++ = *s++;
        }
    } else {
        while (count-- > 0) {
            d[count] = s[count];
        }
    }
    return to;
}

NO_CALLS void *memset(void *to, int value, size_t count) {
    uint8_t *d = to;
    if (aligned(d)) {
        const uint32_t four = (uint32_t)(uint8_t)value * 0x01010101u;
        for (; count >= 4; count -= 4, d += 4) {
            *(word *)(void *)d = four;
        }
    }
    while (count-- > 0) {
        *d++ = (uint8_t)value;
    }
    return to;
}

NO_CALLS int memcmp(const void *a, const void *b, size_t count) {
    const uint8_t *p = a, *q = b;
    for (; count > 0; count--, p++, q++) {
        if (*p != *q) {
            return *p < *q ? -1 : 1;
        }
    }
    return 0;
}
