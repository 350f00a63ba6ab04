/* A QEMU plugin: how many instructions run between two functions, a line for each time.
 * Arguments: begin=ADDRESS, end=ADDRESS (hexadecimal, bit 0 cleared), out=FILE. */
#include "plugin.h"

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
