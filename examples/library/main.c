/* A firmware that learns from its own sensor, with no host: Cortex-M4 of QEMU's mps2-an386. */
#include "tinytrain.h"
#include <stdio.h>
#include <string.h>

extern uint32_t stack_end[];                               /* of link.ld */
void _start(void);                                         /* of newlib */
static uint8_t store[TT_SAVE_BYTES], again[TT_SAVE_BYTES]; /* stand for sectors of flash */

static uint32_t draw(void) {
    static uint32_t state = 7;
    return (state = state * 1664525u + 1013904223u) >> 16;
}

/* A simulated accelerometer: the machine's state is the frequency of its vibration. */
static int16_t read_sensor(void) {
    static const float gain[3] = {-0.8f, 1.0f, 0.6f}; /* mounted otherwise than in the factory */
    static float window[TT_INPUT_VALUES];
    const uint32_t state = draw() % 4;
    uint32_t phase = draw();
    for (uint32_t i = 0; i < TT_INPUT_VALUES; i++) {
        phase += i % 3 ? 0 : 3000 + 2000 * state;
        const int32_t at = (int32_t)((phase + 9000 * (i % 3)) % 65536) - 32768;
        const float wave = (float)(at < 0 ? -at : at) / 16384 - 1;
        window[i] = gain[i % 3] * wave + (float)draw() / 131072 - 0.25f;
    }
    tt_set_input(window);
    return (int16_t)state;
}

static void learn_and_test(int steps) {
    int loss = 0, right = 0;
    for (int i = 0; i < steps; i++) {
        tt_metrics metrics;
        const int16_t state = read_sensor();
        tt_set_labels(&state);
        loss += tt_train_step(&metrics) == TT_OK ? metrics.loss_q16 / steps : 0;
    }
    for (int i = 0; i < 200; i++) {
        right += read_sensor() == tt_predict(NULL);
    }
    printf("%d steps: mean loss %.3f, then %d of 200 right\n", steps, loss / 65536.0, right);
}

int main(void) {
    tt_init();
    for (int i = 0; i < 5; i++) {
        learn_and_test(i ? 100 : 0);
    }
    int failed = tt_save(tt_write_memory, store);
    learn_and_test(50);
    failed |= tt_load(store) | tt_save(tt_write_memory, again);
    puts(failed || memcmp(store, again, sizeof store) ? "NOT RESTORED" : "restored");
}

static void reset(void) {
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* FPU on */
    _start();
}
__attribute__((section(".vectors"), used)) static void *const vectors[2] = {stack_end, reset};
