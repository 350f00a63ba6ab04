/* Constant tables; tinytrain/ir/tables.py makes the same numbers. */
#ifndef TT_TABLES_H
#define TT_TABLES_H

#include <stdint.h>

extern const uint16_t tt_exp16[256]; /* round(65535 exp(-i/16)); 0 from i = 189 on */
extern const uint16_t tt_exp256[16]; /* round(2^15 exp(-i/256)) */
extern const uint16_t tt_ln128[129]; /* round(2^16 ln(1 + i/128)) */

#endif
