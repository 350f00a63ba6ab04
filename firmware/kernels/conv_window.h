/* Windows on images. */
#ifndef TT_CONV_WINDOW_H
#define TT_CONV_WINDOW_H

#include <stdint.h>

typedef struct {
    int32_t h;
    int32_t w;
} pair;

/* An image and the places of a window on it. */
typedef struct {
    pair image;
    pair size;
    pair stride;
    pair padding;
} window;

static inline int32_t places(int32_t image, int32_t size, int32_t stride, int32_t padding) {
    return (image + 2 * padding - size) / stride + 1;
}

static inline pair places_of(const window *v) {
    const pair p = {places(v->image.h, v->size.h, v->stride.h, v->padding.h),
                    places(v->image.w, v->size.w, v->stride.w, v->padding.w)};
    return p;
}

/* The part [first, end) of a window at ``at`` that is inside of the image. */
typedef struct {
    int32_t at;
    int32_t first;
    int32_t end;
} span;

static inline span span_of(int32_t place, int32_t stride, int32_t padding, int32_t size,
                           int32_t image) {
    const int32_t at = place * stride - padding;
    const span s = {at, at < 0 ? -at : 0, image - at < size ? image - at : size};
    return s;
}

/* The patch of one place: zeros, and the rows of the window that are inside. */
static inline void patch(int8_t *restrict out, const int8_t *restrict x, const window *v, int32_t C,
                         int32_t r, int32_t c) {
    const span down = span_of(r, v->stride.h, v->padding.h, v->size.h, v->image.h);
    const span along = span_of(c, v->stride.w, v->padding.w, v->size.w, v->image.w);
    const int32_t row = v->size.w * C;
    for (int32_t i = 0; i < v->size.h; i++, out += row) {
        const int inside = i >= down.first && i < down.end && along.first < along.end;
        const int32_t first = inside ? along.first * C : row, end = inside ? along.end * C : row;
        const int32_t from = ((down.at + i) * v->image.w + along.at) * C;
        for (int32_t k = 0; k < first; k++) {
            out[k] = 0;
        }
        for (int32_t k = first; k < end; k++) {
            out[k] = x[from + k];
        }
        for (int32_t k = end; k < row; k++) {
            out[k] = 0;
        }
    }
}

#endif
