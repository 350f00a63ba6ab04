/* A QEMU plugin: how many instructions run between two functions, a line for each time.
 * Arguments: plugin_marks. */
#include "plugin.h"

int qemu_plugin_version = 1;

static uint64_t executed, at_begin;
static plugin_marks marks;

static void on_begin(unsigned int vcpu, void *user) {
    (void)vcpu;
    (void)user;
    at_begin = executed;
}

static void on_end(unsigned int vcpu, void *user) {
    (void)vcpu;
    (void)user;
    fprintf(marks.out, "%" PRIu64 "\n", executed - at_begin);
    fflush(marks.out); /* it can be read while the emulator runs */
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint64_t address = qemu_plugin_insn_vaddr(insn);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1);
        if (address == marks.begin || address == marks.end) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, address == marks.begin ? on_begin : on_end,
                                                   QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
    }
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments) {
    (void)info;
    if (plugin_read_marks(&marks, count, arguments) != 0) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
