/* Registers of STM32 microcontrollers, and what the files of this port share. */
#ifndef TT_STM32_H
#define TT_STM32_H

/* Bytes of .bss: the ring of received bytes and the clock. The memory plan reads this line. */
#define TT_PORT_BYTES 272

#endif
