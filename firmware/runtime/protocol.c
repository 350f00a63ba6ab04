#include "tinytrain/tt_protocol.h"

#include "model.h"
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_runtime.h"

#define HEADER_BYTES 2u /* type and sequence */
#define CRC_BYTES 4u
#define CRC_RESIDUE 0x2144DF1Cu /* CRC-32 of anything followed by its own CRC-32 */
#define LABEL_BYTES (2u * TT_LABELS)

uint32_t tt_crc32(uint32_t crc, const uint8_t *bytes, uint32_t count) {
    static const uint32_t table[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4,
        0x4DB26158, 0x5005713C, 0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
        0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
    };
    crc = ~crc;
    for (uint32_t i = 0; i < count; i++) {
        crc = table[(crc ^ bytes[i]) & 15u] ^ (crc >> 4);
        crc = table[(crc ^ (uint32_t)(bytes[i] >> 4)) & 15u] ^ (crc >> 4);
    }
    return ~crc;
}

/* ---- lines ---- */

static void put(const char *text) {
    uint32_t count = 0;
    while (text[count] != 0) {
        count++;
    }
    tt_port_write((const uint8_t *)text, count);
}

static void put_number(uint32_t value, uint32_t digits) {
    uint8_t text[10];
    uint32_t at = sizeof text;
    do {
        text[--at] = (uint8_t)('0' + value % 10u);
        value /= 10u;
    } while (value != 0 || sizeof text - at < digits);
    tt_port_write(text + at, sizeof text - at);
}

static void number(const char *name, uint32_t value) {
    put(",\"");
    put(name);
    put("\":");
    put_number(value, 1);
}

static void begin(const char *event, int32_t sequence) {
    put("{\"event\":\"");
    put(event);
    put(sequence < 0 ? "\",\"seq\":-1" : "\",\"seq\":");
    if (sequence >= 0) {
        put_number((uint32_t)sequence, 1);
    }
}

static void end(void) {
    put("}\n");
}

static void begin_error(int32_t sequence, const char *code, const char *message) {
    tt_run.refused++;
    begin("error", sequence);
    put(",\"code\":\"");
    put(code);
    put("\",\"message\":\"");
    put(message);
    put("\"");
}

static void error(int32_t sequence, const char *code, const char *message) {
    begin_error(sequence, code, message);
    end();
}

static void status_error(tt_status status) {
    static const char *const codes[] = {"ok", "label", "token", "range"};
    static const char *const messages[] = {
        "",
        "a label is not a class of the model",
        "a token of the input is not in the vocabulary",
        "these bytes are not inside the state",
    };
    error(tt_run.sequence, codes[status], messages[status]);
}

static void info(const char *event, int32_t sequence) {
    begin(event, sequence);
    number("protocol", TT_PROTOCOL_VERSION);
    put(",\"model\":\"" TT_MODEL_NAME "\"");
    number("hash", TT_MODEL_HASH);
    number("input_bytes", TT_INPUT_BYTES);
    number("labels", TT_LABELS);
    number("logits", TT_LOGITS);
    number("arena_bytes", TT_ARENA_BYTES);
    number("state_bytes", tt_state_bytes());
    number("step", tt_run.step.step);
    number("seed", tt_run.step.seed);
    number("stack_bytes", tt_port_stack_bytes());
    number("stack_used", tt_port_stack_used());
    number("refused", tt_run.refused);
    end();
}

static void metrics_line(const char *event, const tt_metrics *m, uint32_t time_us) {
    begin(event, tt_run.sequence);
    number("step", tt_run.step.step);
    const uint32_t loss = m->loss_q16 > 0 ? (uint32_t)m->loss_q16 : 0u;
    const uint32_t mean = m->count > 0 ? loss / (uint32_t)m->count : 0u;
    number("loss", mean >> 16);
    put(".");
    put_number((mean & 0xFFFFu) * 10000u >> 16, 4);
    number("loss_q16", loss);
    number("correct", (uint32_t)m->correct);
    number("count", (uint32_t)m->count);
    number("time_us", time_us);
    end();
}

/* ---- frames out ---- */

static void put_delimiter(void) {
    const uint8_t byte = TT_END;
    tt_port_write(&byte, 1);
}

static uint32_t put_escaped(uint32_t crc, const uint8_t *bytes, uint32_t count) {
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

static uint32_t begin_frame(void) {
    const uint8_t header[HEADER_BYTES] = {tt_run.type, tt_run.sequence};
    put_delimiter();
    return put_escaped(0, header, sizeof header);
}

static void end_frame(uint32_t crc) {
    const uint8_t bytes[CRC_BYTES] = {(uint8_t)crc, (uint8_t)(crc >> 8), (uint8_t)(crc >> 16),
                                      (uint8_t)(crc >> 24)};
    put_escaped(0, bytes, sizeof bytes);
    put_delimiter();
}

/* ---- commands ---- */

static uint32_t argument(uint32_t at) {
    const uint8_t *a = tt_run.argument + at;
    return a[0] | (uint32_t)a[1] << 8 | (uint32_t)a[2] << 16 | (uint32_t)a[3] << 24;
}

static void train_or_score(void) {
    tt_metrics m = {0, 0, 0};
    const int16_t *logits;
    const uint32_t start = tt_port_time_us();
    const uint32_t train = tt_run.type == 't';
    const tt_status status = train ? tt_train_step(&m) : tt_evaluate(&m, &logits);
    const uint32_t time_us = (tt_port_time_us() - start) & TT_PORT_TIME_MASK;
    if (status == TT_OK) {
        metrics_line(train ? "step" : "score", &m, time_us);
    } else {
        status_error(status);
    }
}

static void predict(void) {
    tt_metrics m;
    const int16_t *logits;
    for (int32_t i = 0; i < TT_LABELS; i++) {
        tt_model_labels[i] = -1;
    }
    const tt_status status = tt_evaluate(&m, &logits);
    if (status == TT_OK) {
        end_frame(put_escaped(begin_frame(), (const uint8_t *)logits, 2u * TT_LOGITS));
    } else {
        status_error(status);
    }
}

static void read_state(uint32_t offset, uint32_t count) {
    const uint32_t bytes = tt_state_bytes();
    if (offset > bytes || count > bytes - offset) {
        status_error(TT_BAD_RANGE);
        return;
    }
    uint32_t crc = begin_frame();
    while (count > 0) {
        uint32_t run;
        const uint8_t *place = tt_state_at(offset, &run);
        run = run < count ? run : count;
        crc = put_escaped(crc, place, run);
        offset += run;
        count -= run;
    }
    end_frame(crc);
}

static void write_state(uint32_t offset, uint32_t count) {
    const tt_status status = tt_state_write(offset, (const uint8_t *)tt_model_input, count);
    if (status != TT_OK) {
        status_error(status);
        return;
    }
    begin("write", tt_run.sequence);
    number("offset", offset);
    number("bytes", count);
    end();
}

static void reset(uint32_t seed, uint32_t step) {
    tt_run.step.seed = seed;
    tt_run.step.step = step;
    begin("reset", tt_run.sequence);
    number("seed", seed);
    number("step", step);
    end();
}

/* The payload of each type: numbers, then input, then labels. The last ones may be left out where
 * the length is free. */
typedef struct {
    uint32_t argument_bytes;
    uint32_t input_bytes;
    uint32_t label_bytes;
    uint32_t least_bytes;
} layout;

static uint32_t most_bytes(const layout *l) {
    return l->argument_bytes + l->input_bytes + l->label_bytes;
}

static uint32_t layout_of(uint8_t type, layout *l) {
    const uint32_t numbers = type == 'w' ? 4u : (type == 'r' || type == 'z' ? 8u : 0u);
    const uint32_t sample = type == 't' || type == 's';
    l->argument_bytes = numbers;
    l->input_bytes = sample || type == 'p' || type == 'w' ? TT_INPUT_BYTES : 0u;
    l->label_bytes = sample ? LABEL_BYTES : 0u;
    l->least_bytes = type == 'w' ? numbers + 1u : most_bytes(l);
    return numbers || l->input_bytes || type == 'i' || type == 'q';
}

static void length_error(const layout *l, uint32_t received) {
    begin_error(tt_run.sequence, "length", "the payload of this type has another length");
    number("expected", most_bytes(l));
    number("received", received);
    end();
}

static void run_command(uint32_t payload_bytes) {
    switch (tt_run.type) {
    case 'i':
        info("info", tt_run.sequence);
        break;
    case 't':
    case 's':
        train_or_score();
        break;
    case 'p':
        predict();
        break;
    case 'r':
        read_state(argument(0), argument(4));
        break;
    case 'w':
        write_state(argument(0), payload_bytes - 4u);
        break;
    case 'z':
        reset(argument(0), argument(4));
        break;
    default:
        begin("quit", tt_run.sequence);
        end();
        tt_port_exit(0);
    }
}

/* ---- frames in ---- */

static void finish(void) {
    if (tt_run.damaged || tt_run.escaped || tt_run.received < HEADER_BYTES + CRC_BYTES) {
        error(-1, "frame", "not a frame: too short, or a wrong escape");
        return;
    }
    if (tt_run.crc != CRC_RESIDUE) {
        error(-1, "crc", "the checksum is wrong");
        return;
    }
    const uint32_t payload_bytes = tt_run.received - HEADER_BYTES - CRC_BYTES;
    layout l;
    if (!layout_of(tt_run.type, &l)) {
        error(tt_run.sequence, "type", "no such command");
    } else if (payload_bytes < l.least_bytes || payload_bytes > most_bytes(&l)) {
        length_error(&l, payload_bytes);
    } else {
        run_command(payload_bytes);
    }
}

/* Put byte `at` of a payload where it belongs; what is too much is dropped, only its CRC counts. */
static void store(uint32_t at, uint8_t byte) {
    layout l;
    layout_of(tt_run.type, &l);
    if (at < l.argument_bytes) {
        tt_run.argument[at] = byte;
    } else if (at - l.argument_bytes < l.input_bytes) {
        ((uint8_t *)tt_model_input)[at - l.argument_bytes] = byte;
    } else if (at - l.argument_bytes - l.input_bytes < l.label_bytes) {
        ((uint8_t *)tt_model_labels)[at - l.argument_bytes - l.input_bytes] = byte;
    }
}

static void take(uint8_t byte) {
    tt_run.crc = tt_crc32(tt_run.crc, &byte, 1);
    if (tt_run.received == 0) {
        tt_run.type = byte;
    } else if (tt_run.received == 1) {
        tt_run.sequence = byte;
    } else {
        store(tt_run.received - HEADER_BYTES, byte);
    }
    if (tt_run.received < UINT32_MAX) {
        tt_run.received++;
    }
}

void tt_protocol_feed(uint8_t byte) {
    if (byte == TT_END) {
        if (tt_run.received || tt_run.escaped || tt_run.damaged) {
            finish();
        }
        tt_run.crc = 0;
        tt_run.received = 0;
        tt_run.escaped = 0;
        tt_run.damaged = 0;
    } else if (tt_run.escaped) {
        tt_run.escaped = 0;
        if (byte == TT_ESCAPED_END) {
            take(TT_END);
        } else if (byte == TT_ESCAPED_ESCAPE) {
            take(TT_ESCAPE);
        } else {
            tt_run.damaged = 1;
        }
    } else if (byte == TT_ESCAPE) {
        tt_run.escaped = 1;
    } else {
        take(byte);
    }
}

void tt_protocol_start(void) {
    info("ready", -1);
}

void tt_protocol_fault(uint32_t pc, uint32_t status) {
    begin_error(-1, "fault", "the program crashed");
    number("pc", pc);
    number("status", status);
    end();
}
