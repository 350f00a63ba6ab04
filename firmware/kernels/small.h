/* Included first by kernels with a small part of a step's instructions: firmware compiles them for
 * size; the host, where searches run, for speed as all others. */
#ifndef TT_SMALL_H
#define TT_SMALL_H

#if defined(__GNUC__) && (defined(__arm__) || defined(__riscv) || defined(__xtensa__))
#pragma GCC optimize("Os")
#endif

#endif
