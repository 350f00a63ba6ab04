#include "tinytrain/tt_protocol.h"

#include "answer.h"
#include "keep.h"
#include "model.h"
#include "tinytrain/tt_bytes.h"
#include "tinytrain/tt_crc.h"
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_runtime.h"
#include "tinytrain/tt_schema.h"

#define HEADER_BYTES 2u /* type and sequence */
#define CRC_BYTES 4u
#define CRC_RESIDUE 0x2144DF1Cu /* CRC-32 of anything followed by its own CRC-32 */
#define LABEL_BYTES (2u * TT_LABELS)

static void status_error(tt_status status) {
    static const char *const codes[] = {"ok", "label", "token", "range"};
    static const char *const messages[] = {
        "",
        "a label is not a class of the model",
        "a token of the input is not in the vocabulary",
        "these bytes are not inside the state",
    };
    tt_error(tt_run.sequence, codes[status], messages[status]);
}

static void info(const char *event, int32_t sequence) {
    static const char *const kept[] = {"none", "yes", "other", "damaged"};
    tt_begin(event, sequence);
    tt_number("protocol", TT_PROTOCOL_VERSION);
    tt_put(",\"model\":\"" TT_MODEL_NAME "\"");
    tt_number("hash", TT_MODEL_HASH);
    tt_number("input_bytes", TT_INPUT_BYTES);
    tt_number("labels", TT_LABELS);
    tt_number("logits", TT_LOGITS);
    tt_number("arena_bytes", TT_ARENA_BYTES);
    tt_number("state_bytes", tt_state_bytes());
    tt_number("step", tt_run.step.step);
    tt_number("seed", tt_run.step.seed);
    tt_number("stack_bytes", tt_port_stack_bytes());
    tt_number("stack_used", tt_port_stack_used());
    tt_number("refused", tt_run.refused);
    tt_number("slot_bytes", tt_keep_bytes());
    tt_put(",\"kept\":\"");
    tt_put(kept[tt_run.kept]);
    tt_put("\"");
#ifdef TT_SCHEMES
    tt_number("schemes", TT_SCHEMES);
    tt_number("scheme", tt_scheme_in_use());
    tt_number("probed", tt_model_choice[1]);
#endif
    tt_end();
}

static void metrics_line(const char *event, const tt_metrics *m, uint32_t time_us) {
    tt_begin(event, tt_run.sequence);
    tt_number("step", tt_run.step.step);
    const uint32_t loss = m->loss_q16 > 0 ? (uint32_t)m->loss_q16 : 0u;
    const uint32_t mean = m->count > 0 ? loss / (uint32_t)m->count : 0u;
    tt_number("loss", mean >> 16);
    tt_put(".");
    tt_put_number((mean & 0xFFFFu) * 10000u >> 16, 4);
    tt_number("loss_q16", loss);
    tt_number("correct", (uint32_t)m->correct);
    tt_number("count", (uint32_t)m->count);
    tt_number("time_us", time_us);
    tt_end();
}

/* ---- commands ---- */

static uint32_t argument(uint32_t at) {
    return tt_get32(tt_run.argument + at);
}

static void train_or_score(void) {
    tt_metrics m = {0, 0, 0};
    const int16_t *logits;
    const uint32_t start = tt_port_time_us();
    const uint32_t train = tt_run.type == TT_COMMAND_TRAIN;
    const tt_status status = train ? tt_train_step(&m) : tt_evaluate(&m, &logits);
    const uint32_t time_us = (tt_port_time_us() - start) & TT_PORT_TIME_MASK;
    if (status == TT_OK) {
        metrics_line(train ? "step" : "score", &m, time_us);
    } else {
        status_error(status);
    }
}

#ifdef TT_SCHEMES
static void probe(void) {
    tt_metrics m;
    const uint32_t start = tt_port_time_us();
    const tt_status status = tt_probe(&m);
    if (status == TT_OK) {
        metrics_line("probe", &m, (tt_port_time_us() - start) & TT_PORT_TIME_MASK);
    } else {
        status_error(status);
    }
}

static void scheme_line(const char *event) {
    tt_begin(event, tt_run.sequence);
    tt_number("scheme", tt_scheme_in_use());
    tt_put(",\"name\":\"");
    tt_put(tt_model_schemes[tt_scheme_in_use()].name);
    tt_put("\"");
}

static void use(uint32_t scheme) {
    if (tt_use(scheme) != TT_OK) {
        tt_error(tt_run.sequence, "scheme", "there is no such scheme");
        return;
    }
    scheme_line("use");
    tt_end();
}

static void choose(void) {
    const uint32_t seen = tt_model_choice[1];
    uint32_t worth[TT_SCHEMES];
    for (uint32_t i = 0; i < TT_SCHEMES; i++) {
        worth[i] = tt_worth_q24(i);
    }
    tt_choose();
    scheme_line("choose");
    tt_number("probed", seen);
    for (uint32_t i = 0; i < TT_SCHEMES; i++) {
        tt_put(i == 0 ? ",\"worth_q24\":[" : ",");
        tt_put_number(worth[i], 1);
    }
    tt_put("]");
    tt_end();
}
#endif

static void predict(void) {
    tt_metrics m;
    const int16_t *logits;
    for (int32_t i = 0; i < TT_LABELS; i++) {
        tt_model_labels[i] = -1;
    }
    const tt_status status = tt_evaluate(&m, &logits);
    if (status == TT_OK) {
        tt_end_frame(tt_put_frame(tt_begin_frame(tt_run.type, tt_run.sequence),
                                  (const uint8_t *)logits, 2u * TT_LOGITS));
    } else {
        status_error(status);
    }
}

static void read_state(uint32_t offset, uint32_t count) {
    const tt_status status = tt_state_check(offset, count);
    if (status != TT_OK) {
        status_error(status);
        return;
    }
    uint32_t crc = tt_begin_frame(tt_run.type, tt_run.sequence);
    while (count > 0) {
        uint32_t run;
        const uint8_t *place = tt_state_at(offset, &run);
        run = run < count ? run : count;
        crc = tt_put_frame(crc, place, run);
        offset += run;
        count -= run;
    }
    tt_end_frame(crc);
}

static void write_state(uint32_t offset, uint32_t count) {
    const tt_status status = tt_state_write(offset, (const uint8_t *)tt_model_input, count);
    if (status != TT_OK) {
        status_error(status);
        return;
    }
    tt_begin("write", tt_run.sequence);
    tt_number("offset", offset);
    tt_number("bytes", count);
    tt_end();
}

static void reset(uint32_t seed, uint32_t step) {
    tt_run.step.seed = seed;
    tt_run.step.step = step;
    tt_begin("reset", tt_run.sequence);
    tt_number("seed", seed);
    tt_number("step", step);
    tt_end();
}

/* Save or forget. After a failed forget the flash may hold either; the next start tells. */
static void keep(void) {
    const uint32_t save = tt_run.type == TT_COMMAND_SAVE;
    const tt_status status = save ? tt_keep_save() : tt_keep_forget();
    if (status == TT_NO_ROOM) {
        tt_begin_error(tt_run.sequence, "storage", "no flash is kept for the state, or too little");
        tt_number("needed", tt_keep_needed());
        tt_number("slot_bytes", tt_keep_bytes());
    } else if (status != TT_OK) {
        tt_begin_error(tt_run.sequence, "flash", "the flash does not hold what was written");
    } else {
        tt_run.kept = save ? TT_KEPT_YES : TT_KEPT_NONE;
        tt_begin(save ? "save" : "forget", tt_run.sequence);
        tt_number("step", tt_run.step.step);
        tt_number("bytes", save ? tt_keep_needed() : 0u);
    }
    tt_end();
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

#define LAYOUT(id, numbers, input, labels, free)                  \
    case id:                                                      \
        l->argument_bytes = (numbers);                            \
        l->input_bytes = (input) ? TT_INPUT_BYTES : 0u;           \
        l->label_bytes = (labels) ? LABEL_BYTES : 0u;             \
        l->least_bytes = (free) ? (numbers) + 1u : most_bytes(l); \
        return 1;

static uint32_t layout_of(uint8_t type, layout *l) {
    switch (type) {
        TT_COMMANDS(LAYOUT)
#ifdef TT_SCHEMES
        TT_SCHEME_COMMANDS(LAYOUT)
#endif
    default:
        l->argument_bytes = l->input_bytes = l->label_bytes = l->least_bytes = 0;
        return 0;
    }
}

static void length_error(const layout *l, uint32_t received) {
    tt_begin_error(tt_run.sequence, "length", "the payload of this type has another length");
    tt_number("expected", most_bytes(l));
    tt_number("received", received);
    tt_end();
}

static void run_command(uint32_t payload_bytes) {
    switch (tt_run.type) {
    case TT_COMMAND_INFO:
        info("info", tt_run.sequence);
        break;
    case TT_COMMAND_TRAIN:
    case TT_COMMAND_SCORE:
        train_or_score();
        break;
    case TT_COMMAND_PREDICT:
        predict();
        break;
    case TT_COMMAND_READ:
        read_state(argument(0), argument(4));
        break;
    case TT_COMMAND_WRITE:
        write_state(argument(0), payload_bytes - 4u);
        break;
    case TT_COMMAND_RESET:
        reset(argument(0), argument(4));
        break;
    case TT_COMMAND_SAVE:
    case TT_COMMAND_FORGET:
        keep();
        break;
#ifdef TT_SCHEMES
    case TT_COMMAND_PROBE:
        probe();
        break;
    case TT_COMMAND_USE:
        use(argument(0));
        break;
    case TT_COMMAND_CHOOSE:
        choose();
        break;
#endif
    case TT_COMMAND_QUIT:
        tt_begin("quit", tt_run.sequence);
        tt_end();
        tt_port_exit(0);
        break;
    default:
        tt_error(tt_run.sequence, "type", "no such command");
    }
}

/* ---- frames in ---- */

static void finish(void) {
    if (tt_run.damaged || tt_run.escaped || tt_run.received < HEADER_BYTES + CRC_BYTES) {
        tt_error(-1, "frame", "not a frame: too short, or a wrong escape");
        return;
    }
    if (tt_run.crc != CRC_RESIDUE) {
        tt_error(-1, "crc", "the checksum is wrong");
        return;
    }
    const uint32_t payload_bytes = tt_run.received - HEADER_BYTES - CRC_BYTES;
    layout l;
    if (!layout_of(tt_run.type, &l)) {
        tt_error(tt_run.sequence, "type", "no such command");
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
    tt_run.kept = (uint8_t)tt_keep_load();
    info("ready", -1);
}

void tt_protocol_fault(uint32_t pc, uint32_t status) {
    tt_begin_error(-1, "fault", "the program crashed");
    tt_number("pc", pc);
    tt_number("status", status);
    tt_end();
}
