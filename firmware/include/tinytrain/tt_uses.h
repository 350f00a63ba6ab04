/* What calls of kernels may pass. model_uses.h, generated beside model.h, says 0 of what its model
 * does not pass, and the code for it is left out of the firmware; without that file all may be. */
#ifndef TT_USES_H
#define TT_USES_H

#ifdef __has_include
#if __has_include("model_uses.h")
#include "model_uses.h"
#endif
#endif

/* The LSB-normalised step: a moment that is not NULL. */
#ifndef TT_USES_LSB
#define TT_USES_LSB 1
#endif

/* SGD: coefs that are not NULL. */
#ifndef TT_USES_SGD
#define TT_USES_SGD 1
#endif

/* Weights stored as int16: a fraction that is not NULL. */
#ifndef TT_USES_FRACTIONS
#define TT_USES_FRACTIONS 1
#endif

/* Layers of which some channels are trained: rows that are not NULL. */
#ifndef TT_USES_ROWS
#define TT_USES_ROWS 1
#endif

/* A scale for each channel: per_channel that is not 0. */
#ifndef TT_USES_PER_CHANNEL
#define TT_USES_PER_CHANNEL 1
#endif

/* Not a call, but the board: hot kernels run from the IRAM of an ESP32 (tt_hot.h). */
#ifndef TT_USES_IRAM
#define TT_USES_IRAM 0
#endif

#endif
