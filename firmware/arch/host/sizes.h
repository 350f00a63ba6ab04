/* How much is worked on at a time. Tests make all of it smaller, so that small tensors have many
 * blocks. */
#ifndef TT_SIZES_H
#define TT_SIZES_H

#ifndef TT_SMALL_BLOCKS
#define TT_BLOCK_ROWS 128
#define TT_BLOCK_DEPTH 256 /* a multiple of 4 */
#define TT_HELD 32768      /* accumulators of a block of whole rows; scratch holds longer rows */
#define TT_FEW_HEADS 32    /* exponents of so many a row are held; those of more are in scratch */
#define TT_CHUNK 512       /* elements of a row; a multiple of 8 */
#else
#define TT_BLOCK_ROWS 5
#define TT_BLOCK_DEPTH 8
#define TT_HELD 24
#define TT_FEW_HEADS 1
#define TT_CHUNK 8
#endif

#endif
