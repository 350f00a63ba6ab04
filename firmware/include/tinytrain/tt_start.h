/* What the reset of a bare board does to its memory, with the bounds of codegen/link.ld.j2. Inline, as
 * the stack that is painted is the caller's own. */
#ifndef TT_START_H
#define TT_START_H

#include <stdint.h>

extern uint32_t tt_stack_start[], tt_stack_end[];
extern uint32_t tt_data_start[], tt_data_end[], tt_bss_start[], tt_bss_end[];
extern const uint32_t tt_data_image[];

#define TT_PAINT 0xA5C3A5C3u

static inline void tt_copy(volatile uint32_t *to, const volatile uint32_t *end,
                           const uint32_t *from) {
    while (to < end) {
        *to++ = *from++;
    }
}

#ifdef TT_FAST_CODE
extern uint32_t tt_fast_start[], tt_fast_end[];
extern const uint32_t tt_fast_image[];

static inline void tt_copy_code(void) {
    tt_copy(tt_fast_start, tt_fast_end, tt_fast_image);
}
#endif

/* Paint the stack below the stack pointer, copy .data, clear .bss. */
static inline void tt_fill_memory(const uint32_t *stack_pointer) {
    for (volatile uint32_t *word = tt_stack_start; word < stack_pointer; word++) {
        *word = TT_PAINT;
    }
    tt_copy(tt_data_start, tt_data_end, tt_data_image);
    for (volatile uint32_t *word = tt_bss_start; word < tt_bss_end; word++) {
        *word = 0;
    }
}

/* Bytes of the stack, and those whose paint is gone. */
static inline uint32_t tt_stack_bytes(void) {
    return (uint32_t)((uintptr_t)tt_stack_end - (uintptr_t)tt_stack_start);
}

static inline uint32_t tt_stack_used(void) {
    const volatile uint32_t *word = tt_stack_start;
    while (word < tt_stack_end && *word == TT_PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)tt_stack_end - (uintptr_t)word);
}

#endif
