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

#endif
