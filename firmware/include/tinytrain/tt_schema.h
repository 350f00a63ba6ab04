/* Made by python -m tinytrain.link.schema --write from tinytrain/link/schema.py. */
/* clang-format off */
#ifndef TT_SCHEMA_H
#define TT_SCHEMA_H

#define TT_COMMAND_INFO 'i'
#define TT_COMMAND_TRAIN 't'
#define TT_COMMAND_SCORE 's'
#define TT_COMMAND_PREDICT 'p'
#define TT_COMMAND_READ 'r'
#define TT_COMMAND_WRITE 'w'
#define TT_COMMAND_RESET 'z'
#define TT_COMMAND_SAVE 'v'
#define TT_COMMAND_FORGET 'f'
#define TT_COMMAND_QUIT 'q'
#define TT_COMMAND_USE 'u'
#define TT_COMMAND_PROBE 'b'
#define TT_COMMAND_CHOOSE 'c'

/* id, bytes of numbers, whether input and labels follow, whether the length of the input is free */
#define TT_COMMANDS(X) \
    X(TT_COMMAND_INFO, 0u, 0u, 0u, 0u) \
    X(TT_COMMAND_TRAIN, 0u, 1u, 1u, 0u) \
    X(TT_COMMAND_SCORE, 0u, 1u, 1u, 0u) \
    X(TT_COMMAND_PREDICT, 0u, 1u, 0u, 0u) \
    X(TT_COMMAND_READ, 8u, 0u, 0u, 0u) \
    X(TT_COMMAND_WRITE, 4u, 1u, 0u, 1u) \
    X(TT_COMMAND_RESET, 8u, 0u, 0u, 0u) \
    X(TT_COMMAND_SAVE, 0u, 0u, 0u, 0u) \
    X(TT_COMMAND_FORGET, 0u, 0u, 0u, 0u) \
    X(TT_COMMAND_QUIT, 0u, 0u, 0u, 0u)

/* and of a model that holds several schemes */
#define TT_SCHEME_COMMANDS(X) \
    X(TT_COMMAND_USE, 4u, 0u, 0u, 0u) \
    X(TT_COMMAND_PROBE, 0u, 1u, 1u, 0u) \
    X(TT_COMMAND_CHOOSE, 0u, 0u, 0u, 0u)

#endif
