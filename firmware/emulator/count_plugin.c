/* A QEMU plugin: how many instructions run between two functions, a line for each time.
 * Arguments: begin=ADDRESS, end=ADDRESS (hexadecimal, bit 0 cleared), out=FILE.
 * Debian ships no header, so the few prototypes that are used stand here (plugin API version 1). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
typedef void (*tb_callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void (*insn_callback)(unsigned int vcpu, void *user);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_callback callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn,
                                                enum qemu_plugin_op op, void *value, uint64_t by);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, insn_callback callback,
                                            enum qemu_plugin_cb_flags flags, void *user);

__attribute__((visibility("default"))) extern int qemu_plugin_version;
__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments);

int qemu_plugin_version = 1;

static uint64_t executed, at_begin, begin_address, end_address;
static FILE *out;

static void on_begin(unsigned int vcpu, void *user) {
    (void)vcpu;
    (void)user;
    at_begin = executed;
}

static void on_end(unsigned int vcpu, void *user) {
    (void)vcpu;
    (void)user;
    fprintf(out, "%" PRIu64 "\n", executed - at_begin);
    fflush(out); /* it can be read while the emulator runs */
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint64_t address = qemu_plugin_insn_vaddr(insn);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1);
        if (address == begin_address || address == end_address) {
            qemu_plugin_register_vcpu_insn_exec_cb(
                insn, address == begin_address ? on_begin : on_end, QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
    }
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments) {
    (void)info;
    for (int i = 0; i < count; i++) {
        const char *a = arguments[i];
        if (strncmp(a, "begin=", 6) == 0) {
            begin_address = strtoull(a + 6, NULL, 16);
        } else if (strncmp(a, "end=", 4) == 0) {
            end_address = strtoull(a + 4, NULL, 16);
        } else if (strncmp(a, "out=", 4) == 0) {
            out = fopen(a + 4, "w");
        }
    }
    if (begin_address == 0 || end_address == 0 || out == NULL) {
        fprintf(stderr, "count_plugin: needs begin=, end= and out=\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
