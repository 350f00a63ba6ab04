/* The serial protocol, version 1. tinytrain/link/protocol.py is the other end.
 *
 * A frame is SLIP (RFC 1055): END 0xC0, body, END; in the body 0xC0 is sent as DB DC and 0xDB as
 * DB DD. Body: type u8, sequence u8, payload, CRC-32 (that of zlib) of all before it. Numbers are
 * little-endian.
 *
 *   type        payload                             answer
 *   'i' info    -                                   line "info"
 *   't' train   input, labels int16                 line "step"
 *   's' score   input, labels int16                 line "score"
 *   'p' predict input                               frame 'p': logits int16 [TT_LOGITS]
 *   'r' read    offset u32, count u32               frame 'r': count bytes of the state
 *   'w' write   offset u32, 1..TT_INPUT_BYTES bytes line "write"
 *   'z' reset   seed u32, step u32                  line "reset"; weights stay as they are
 *   'v' save    -                                   line "save": the state is in the flash
 *   'f' forget  -                                   line "forget": nothing is; RAM stays as it is
 *   'q' quit    -                                   line "quit", then tt_port_exit(0)
 * and for a model that holds several schemes
 *   'u' use     scheme u32                          line "use"
 *   'b' probe   input, labels int16                 line "probe"
 *   'c' choose  -                                   line "choose"
 *
 * A line is one JSON object with "event", and "seq": the sequence of the frame that it answers, -1
 * for none. 0xC0 occurs in no UTF-8 text, so lines and frames share the stream.
 *
 * One frame at a time: the host waits for the answer before it sends the next. Whatever stands
 * between two ENDs and is no good frame is answered by one line "error" with "code" (frame, crc,
 * type, length, label, token, range, storage, flash, scheme) and "message", and changes nothing but
 * the input buffer. An END always starts afresh, so a truncated frame costs no other; it is answered
 * at the next END. */
#ifndef TT_PROTOCOL_H
#define TT_PROTOCOL_H

#include "tinytrain/tt_port.h"

#define TT_PROTOCOL_VERSION 1

#define TT_END 0xC0u
#define TT_ESCAPE 0xDBu
#define TT_ESCAPED_END 0xDCu
#define TT_ESCAPED_ESCAPE 0xDDu

#ifdef __cplusplus
extern "C" {
#endif

/* Go on from the state that the flash keeps, if it is this model's, and say that the device is there:
 * line "ready", with the fields of "info". Call tt_init before. */
void tt_protocol_start(void);

/* Take one received byte; runs the command and answers when it ends a frame. */
void tt_protocol_feed(uint8_t byte);

/* A program's loop: take what came, or wait. */
static inline void tt_protocol_turn(void) {
    const int32_t byte = tt_port_read();
    if (byte < 0) {
        tt_port_idle();
    } else {
        tt_protocol_feed((uint8_t)byte);
    }
}

/* Line "error", code "fault", of a crash: program counter and fault status register. */
void tt_protocol_fault(uint32_t pc, uint32_t status);

#ifdef __cplusplus
}
#endif

#endif
