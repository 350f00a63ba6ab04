/* Two slots of the flash keep the state, whole sectors each: for an F4 or F7 of any size, for an H743
 * of bank 2, for an L4 pages. board.toml gives TT_SLOT_<n>_ORIGIN, _BYTES, _SECTOR and _SECTORS. */
#include "stm32.h"

#include "tinytrain/tt_bytes.h"
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_slots.h"

#ifdef TT_SLOT_0_ORIGIN

#define KEY_1 0x45670123u
#define KEY_2 0xCDEF89ABu
#define LOOKS 400000000u /* an erasure of 256 KB takes up to 4 s */

#if defined(TT_STM32_H7)
#define BANK_2 0x52002100u
#define FLASH_KEY (BANK_2 + 0x04u)
#define FLASH_CONTROL (BANK_2 + 0x0Cu)
#define FLASH_STATE (BANK_2 + 0x10u)
#define FLASH_CLEAR (BANK_2 + 0x14u)
#define BUSY 5u /* or a write is queued */
#define LOCK 1u
#define PROGRAM (1u << 1 | 3u << 4) /* 64 bits in parallel */
#define ERASE (1u << 2 | 3u << 4)
#define START (1u << 7)
#define SECTOR(number) ((uint32_t)(number) << 8)
#define ERRORS 0x07EE0000u
#define UNIT 32u
#elif defined(TT_STM32_L4)
#define FLASH_ACCESS 0x40022000u
#define FLASH_KEY 0x40022008u
#define FLASH_STATE 0x40022010u
#define FLASH_CLEAR FLASH_STATE
#define FLASH_CONTROL 0x40022014u
#define BUSY (1u << 16)
#define LOCK (1u << 31)
#define PROGRAM 1u
#define ERASE 2u
#define START (1u << 16)
#define SECTOR(number) ((uint32_t)(number) << 3) /* bit 11, the bank, is bit 8 of the page */
#define ERRORS 0x0000C3FAu
#define UNIT 8u
#else
#define FLASH_ACCESS 0x40023C00u
#define FLASH_KEY 0x40023C04u
#define FLASH_STATE 0x40023C0Cu
#define FLASH_CLEAR FLASH_STATE
#define FLASH_CONTROL 0x40023C10u
#define BUSY (1u << 16)
#define LOCK (1u << 31)
#define PROGRAM (1u | 2u << 8) /* 32 bits in parallel, at 2.7 to 3.6 V */
#define ERASE (2u | 2u << 8)
#define START (1u << 16)
#define SECTOR(number) ((uint32_t)(number) << 3)
#define ERRORS 0x000000F2u
#define UNIT 4u
#endif

#define DATA_CACHE_ON (1u << 10)
#define DATA_CACHE_RESET (1u << 12)
#define INVALIDATE_LINE 0xE000EF5Cu
#define LINE_BYTES 32u

static const struct {
    uint32_t first, count;
} sectors[2] = {{TT_SLOT_0_SECTOR, TT_SLOT_0_SECTORS}, {TT_SLOT_1_SECTOR, TT_SLOT_1_SECTORS}};

/* What the core may still hold of this range from before. */
static void forget_cached(uint32_t place, uint32_t count) {
#if defined(TT_STM32_F7) || defined(TT_STM32_H7)
    tt_barrier();
    for (uint32_t at = place & ~(LINE_BYTES - 1u); at < place + count; at += LINE_BYTES) {
        tt_set(INVALIDATE_LINE, at);
    }
    tt_barrier();
#else
    (void)place, (void)count;
    tt_change(FLASH_ACCESS, DATA_CACHE_ON, 0);
    tt_change(FLASH_ACCESS, 0, DATA_CACHE_RESET);
    tt_change(FLASH_ACCESS, DATA_CACHE_RESET, DATA_CACHE_ON);
#endif
}

static int32_t done(void) {
    return tt_await(FLASH_STATE, BUSY, 0, LOOKS) && (tt_get(FLASH_STATE) & ERRORS) == 0;
}

static int32_t unlock(void) {
    if (tt_get(FLASH_CONTROL) & LOCK) {
        tt_set(FLASH_KEY, KEY_1);
        tt_set(FLASH_KEY, KEY_2);
    }
    if (!tt_await(FLASH_STATE, BUSY, 0, LOOKS)) {
        return 0;
    }
    tt_set(FLASH_CLEAR, ERRORS);
    return 1;
}

/* A word whose programming the power cut has two wrong bits for the ECC of H7 and L4, and reading it
 * is a fault, which must not keep the board from starting. H7 (RM0433): a bus error, ignored for as
 * long as faults are masked (PM0253). L4 (RM0351): an NMI, which notes it and clears its flag. */
#if defined(TT_STM32_H7)
#define CONFIGURATION 0xE000ED14u
#define IGNORE_BUS_FAULTS (1u << 8)
#define DOUBLE_ERROR (1u << 26)
static void begin_reading(void) {
    tt_set(FLASH_CLEAR, DOUBLE_ERROR);
    tt_change(CONFIGURATION, 0, IGNORE_BUS_FAULTS);
    tt_mask_faults();
}

static int32_t end_reading(void) {
    tt_barrier();
    tt_unmask_faults();
    tt_change(CONFIGURATION, IGNORE_BUS_FAULTS, 0);
    return tt_get(FLASH_STATE) & DOUBLE_ERROR ? -1 : 0;
}
#elif defined(TT_STM32_L4)
#define ECC_STATE 0x40022018u
#define DOUBLE_ERROR (1u << 31)
void tt_nmi(void);

void tt_nmi(void) {
    if ((tt_get(ECC_STATE) & DOUBLE_ERROR) == 0) {
        tt_fault();
    }
    tt_stm32.flash_damaged = 1;
    tt_set(ECC_STATE, DOUBLE_ERROR);
}

static void begin_reading(void) {
    tt_stm32.flash_damaged = 0;
}

static int32_t end_reading(void) {
    tt_barrier();
    return tt_stm32.flash_damaged ? -1 : 0;
}
#else
static void begin_reading(void) {}

static int32_t end_reading(void) {
    return 0;
}
#endif

uint32_t tt_port_flash_bytes(uint32_t slot) {
    return tt_slots[slot].bytes;
}

uint32_t tt_port_flash_unit(void) {
    return UNIT;
}

int32_t tt_port_flash_read(uint32_t slot, uint32_t offset, uint8_t *out, uint32_t count) {
    if (!tt_slot_holds(slot, offset, count)) {
        return -1;
    }
    begin_reading();
    for (uint32_t at = offset; at < offset + count; at++) {
        const uint32_t word = tt_get(tt_slots[slot].origin + (at & ~3u));
        *out++ = (uint8_t)(word >> 8u * (at & 3u));
    }
    return end_reading();
}

int32_t tt_port_flash_erase(uint32_t slot) {
    int32_t good = unlock();
    for (uint32_t i = 0; good && i < sectors[slot].count; i++) {
        tt_set(FLASH_CONTROL, ERASE | SECTOR(sectors[slot].first + i));
        tt_set(FLASH_CONTROL, ERASE | SECTOR(sectors[slot].first + i) | START);
        good = done();
    }
    tt_set(FLASH_CONTROL, LOCK);
    forget_cached(tt_slots[slot].origin, tt_slots[slot].bytes);
    for (uint32_t at = 0; good && at < tt_slots[slot].bytes; at += 4) {
        good = tt_get(tt_slots[slot].origin + at) == 0xFFFFFFFFu;
    }
    return good ? 0 : -1;
}

int32_t tt_port_flash_program(uint32_t slot, uint32_t offset, const uint8_t *bytes,
                              uint32_t count) {
    if (!tt_slot_holds(slot, offset, count) || (offset | count) % UNIT != 0) {
        return -1;
    }
    const uint32_t place = tt_slots[slot].origin + offset;
    int32_t good = unlock();
    tt_set(FLASH_CONTROL, PROGRAM);
    for (uint32_t at = 0; good && at < count; at += UNIT) {
        for (uint32_t i = at; i < at + UNIT; i += 4) {
            tt_set(place + i, tt_get32(bytes + i));
        }
        tt_barrier();
        good = done();
    }
    tt_set(FLASH_CONTROL, LOCK);
    forget_cached(place, count);
    for (uint32_t at = 0; good && at < count; at += 4) {
        good = tt_get(place + at) == tt_get32(bytes + at);
    }
    return good ? 0 : -1;
}

#endif
