/* A port for tests: stdin and stdout are the stream; a file stands for flash. */
#include "tinytrain/tt_port.h"

#include <stdio.h>
#include <stdlib.h>

int32_t tt_port_read(void) {
    return getchar();
}

void tt_port_write(const uint8_t *bytes, uint32_t count) {
    fwrite(bytes, 1, count, stdout);
}

void tt_port_idle(void) {
    tt_port_exit(0); /* the end of stdin */
}

uint32_t tt_port_time_us(void) {
    return 0;
}

uint32_t tt_port_stack_bytes(void) {
    return 0;
}

uint32_t tt_port_stack_used(void) {
    return 0;
}

_Noreturn void tt_port_exit(int32_t status) {
    fflush(stdout);
    exit(status);
}

/* ---- two slots of flash in the file that TT_FLASH names; none without it ---- */

#define SLOT_BYTES 1024u

/* Bytes that may still change before the power is cut, which ends the program; TT_CUT_AFTER. */
static int64_t changes_left(void) {
    static int64_t left = -1;
    if (left < 0) {
        const char *text = getenv("TT_CUT_AFTER");
        left = text ? atoll(text) : INT64_MAX;
    }
    return left--;
}

static FILE *flash_at(uint32_t slot, uint32_t offset) {
    static FILE *file;
    if (!file) {
        file = fopen(getenv("TT_FLASH"), "r+b");
    }
    if (!file || fseek(file, (long)(slot * SLOT_BYTES + offset), SEEK_SET)) {
        exit(10);
    }
    return file;
}

static void change(uint32_t slot, uint32_t offset, uint8_t byte) {
    if (changes_left() == 0) {
        exit(9);
    }
    fputc(byte, flash_at(slot, offset));
}

uint32_t tt_port_flash_bytes(uint32_t slot) {
    const char *bytes = getenv("TT_SLOT_BYTES");
    (void)slot;
    return getenv("TT_FLASH") ? (bytes ? (uint32_t)atoi(bytes) : SLOT_BYTES) : 0u;
}

uint32_t tt_port_flash_unit(void) {
    return 4;
}

int32_t tt_port_flash_read(uint32_t slot, uint32_t offset, uint8_t *out, uint32_t count) {
    return fread(out, 1, count, flash_at(slot, offset)) == count ? 0 : -1;
}

int32_t tt_port_flash_erase(uint32_t slot) {
    for (uint32_t i = 0; i < SLOT_BYTES; i++) {
        change(slot, i, 0xFF);
    }
    return 0;
}

/* Ones become zeros, and only that; a byte that is not erased is not what was asked for. */
int32_t tt_port_flash_program(uint32_t slot, uint32_t offset, const uint8_t *bytes,
                              uint32_t count) {
    int32_t failed = getenv("TT_FLASH_FAILS") ? -1 : 0;
    for (uint32_t i = 0; i < count && !failed; i++) {
        const uint8_t old = (uint8_t)fgetc(flash_at(slot, offset + i));
        change(slot, offset + i, old & bytes[i]);
        failed = (old & bytes[i]) == bytes[i] ? 0 : -1;
    }
    return failed;
}
