/* A program for an emulated board: calls functions one after the other with what lies in an image,
 * which the emulator loads into RAM behind the firmware's, and writes the image to the file "out".
 * Counting plugins see each call between tt_mark_begin and tt_mark_end. tinytrain/sessions/kernel_calls.py. */
#include "tinytrain/tt_port.h"
#include "tinytrain/tt_protocol.h"
#include "tinytrain/tt_runtime.h"

#define CALL_WORDS 40

/* More arguments than a function has are harmless: the caller removes them. */
typedef void (*function)(uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,
                         uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,
                         uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,
                         uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,
                         uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t,
                         uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, float, float);

typedef struct {
    function called;
    uint32_t words[CALL_WORDS];
    float floats[2];
} call;

/* The head of the image, at the address that the linker is given. */
typedef struct {
    uint32_t bytes, count;
    const call *calls;
    uint32_t done, stack_used, fault_address, fault_status;
} image;

extern image tt_image;

void tt_nothing(void);

/* Its count is what a call costs without the function. */
void tt_nothing(void) {}

__attribute__((noinline)) void tt_mark_begin(void) {
    __asm__ volatile("" ::: "memory");
}

__attribute__((noinline)) void tt_mark_end(void) {
    __asm__ volatile("" ::: "memory");
}

#ifdef __riscv
static int32_t semihosting(uint32_t operation, const void *block) {
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = block;
    __asm__ volatile(".option push\n"
                     ".balign 16\n" /* all in one page */
                     ".option norvc\n"
                     "slli x0, x0, 0x1f\n"
                     "ebreak\n"
                     "srai x0, x0, 7\n"
                     ".option pop\n"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return (int32_t)a0;
}
#else
static int32_t semihosting(uint32_t operation, const void *block) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}
#endif

static int32_t write_image(void) {
    static const char name[] = "out";
    const uint32_t file[3] = {(uint32_t)(uintptr_t)name, 5u /* wb */, sizeof name - 1};
    tt_image.stack_used = tt_port_stack_used();
    const int32_t handle = semihosting(1u, file);
    const uint32_t block[3] = {(uint32_t)handle, (uint32_t)(uintptr_t)&tt_image, tt_image.bytes};
    return semihosting(5u, block);
}

void tt_protocol_fault(uint32_t address, uint32_t status) {
    tt_image.fault_address = address;
    tt_image.fault_status = status;
    write_image();
}

int main(void) {
    for (uint32_t i = 0; i < tt_image.count; i++) {
        const uint32_t *w = tt_image.calls[i].words;
        const float *f = tt_image.calls[i].floats;
        const function called = tt_image.calls[i].called;
        tt_mark_begin();
        called(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12],
               w[13], w[14], w[15], w[16], w[17], w[18], w[19], w[20], w[21], w[22], w[23], w[24],
               w[25], w[26], w[27], w[28], w[29], w[30], w[31], w[32], w[33], w[34], w[35], w[36],
               w[37], w[38], w[39], f[0], f[1]);
        tt_mark_end();
        tt_image.done = i + 1;
    }
    return write_image();
}
