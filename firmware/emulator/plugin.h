/* Plugin API version 1 of QEMU, as far as it is used: Debian ships no header. */
#ifndef TT_PLUGIN_H
#define TT_PLUGIN_H

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
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, insn_callback callback,
                                          enum qemu_plugin_cb_flags flags, void *user);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *insn); /* to be freed */
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn,
                                                enum qemu_plugin_op op, void *value, uint64_t by);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, insn_callback callback,
                                            enum qemu_plugin_cb_flags flags, void *user);

__attribute__((visibility("default"))) extern int qemu_plugin_version;
__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments);

/* The arguments of a plugin that counts between two functions: begin=ADDRESS, end=ADDRESS
 * (hexadecimal, bit 0 cleared), out=FILE. */
typedef struct {
    uint64_t begin, end;
    FILE *out;
} plugin_marks;

/* 0, or -1 after a complaint. */
static inline int plugin_read_marks(plugin_marks *marks, int count, char **arguments) {
    for (int i = 0; i < count; i++) {
        const char *a = arguments[i];
        if (strncmp(a, "begin=", 6) == 0) {
            marks->begin = strtoull(a + 6, NULL, 16);
        } else if (strncmp(a, "end=", 4) == 0) {
            marks->end = strtoull(a + 4, NULL, 16);
        } else if (strncmp(a, "out=", 4) == 0) {
            marks->out = fopen(a + 4, "w");
        }
    }
    if (marks->begin == 0 || marks->end == 0 || marks->out == NULL) {
        fprintf(stderr, "plugin: needs begin=, end= and out=\n");
        return -1;
    }
    return 0;
}

#endif
