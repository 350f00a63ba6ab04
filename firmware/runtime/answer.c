/* What the device says: JSON lines and frames. */
#include "answer.h"

#include "tinytrain/tt_crc.h"
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_protocol.h"
#include "tinytrain/tt_runtime.h"

void tt_put(const char *text) {
    uint32_t count = 0;
    while (text[count] != 0) {
        count++;
    }
    tt_port_write((const uint8_t *)text, count);
}

void tt_put_number(uint32_t value, uint32_t digits) {
    uint8_t text[10];
    uint32_t at = sizeof text;
    do {
        text[--at] = (uint8_t)('0' + value % 10u);
        value /= 10u;
    } while (value != 0 || sizeof text - at < digits);
    tt_port_write(text + at, sizeof text - at);
}

void tt_number(const char *name, uint32_t value) {
    tt_put(",\"");
    tt_put(name);
    tt_put("\":");
    tt_put_number(value, 1);
}

void tt_begin(const char *event, int32_t sequence) {
    tt_put("{\"event\":\"");
    tt_put(event);
    tt_put(sequence < 0 ? "\",\"seq\":-1" : "\",\"seq\":");
    if (sequence >= 0) {
        tt_put_number((uint32_t)sequence, 1);
    }
}

void tt_end(void) {
    tt_put("}\n");
}

void tt_begin_error(int32_t sequence, const char *code, const char *message) {
    tt_run.refused++;
    tt_begin("error", sequence);
    tt_put(",\"code\":\"");
    tt_put(code);
    tt_put("\",\"message\":\"");
    tt_put(message);
    tt_put("\"");
}

void tt_error(int32_t sequence, const char *code, const char *message) {
    tt_begin_error(sequence, code, message);
    tt_end();
}

static void put_delimiter(void) {
    const uint8_t byte = TT_END;
    tt_port_write(&byte, 1);
}

uint32_t tt_put_frame(uint32_t crc, const uint8_t *bytes, uint32_t count) {
    uint32_t from = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (bytes[i] == TT_END || bytes[i] == TT_ESCAPE) {
            const uint8_t pair[2] = {TT_ESCAPE, bytes[i] == TT_END ? (uint8_t)TT_ESCAPED_END
                                                                   : (uint8_t)TT_ESCAPED_ESCAPE};
            tt_port_write(bytes + from, i - from);
            tt_port_write(pair, sizeof pair);
            from = i + 1;
        }
    }
    tt_port_write(bytes + from, count - from);
    return tt_crc32(crc, bytes, count);
}

uint32_t tt_begin_frame(uint8_t type, uint8_t sequence) {
    const uint8_t header[2] = {type, sequence};
    put_delimiter();
    return tt_put_frame(0, header, sizeof header);
}

void tt_end_frame(uint32_t crc) {
    const uint8_t bytes[4] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16),
                              (uint8_t)(crc >> 24)};
    tt_put_frame(0, bytes, sizeof bytes);
    put_delimiter();
}
