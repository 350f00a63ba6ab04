/* A QEMU plugin: instructions between two functions, and an ESTIMATE of the cycles that a Cortex-M4
 * takes for them; a line "instructions cycles" for each time. Arguments: plugin_marks.
 *
 * Timing: Arm, Cortex-M4 Technical Reference Manual (DDI 0439), sections 3.3 and 7.2.3, for memory
 * without wait states. Where it gives a range: 2 cycles of 1 to 3 for the pipeline after a branch
 * that is taken, 7 of 2 to 12 for a division. */
#include "plugin.h"

#include <stdbool.h>

#define REFILL 2
#define DIVISION 7

int qemu_plugin_version = 1;

/* A translated block: where it begins, and what follows it in memory. */
typedef struct {
    uint64_t start, next;
} block;

/* What the timing of an instruction depends on in the one before. */
typedef struct {
    bool load, writes;
    char target[8]; /* the register that it writes */
} before;

static uint64_t executed, cycles, executed_begin, cycles_begin;
static const block *last;
static plugin_marks marks;

static bool starts(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static bool is_one_of(const char *mnemonic, const char *const *list) {
    for (; *list != NULL; list++) {
        if (starts(mnemonic, *list)) {
            return true;
        }
    }
    return false;
}

/* Words that "{r4, r5, lr}" or "{d8, d9}" moves. */
static uint64_t listed(const char *operands) {
    uint64_t count = 1;
    for (const char *at = strchr(operands, '{'); at != NULL && *at != '\0' && *at != '}'; at++) {
        count += *at == ',';
    }
    return strstr(operands, "{d") != NULL ? 2 * count : count;
}

/* Whether the address in "[r1, r2, lsl #2]" is made of this register. */
static bool addressed_by(const char *operands, const char *name) {
    const size_t length = strlen(name);
    const char *at = strchr(operands, '[');
    while (length != 0 && at != NULL && *at != '\0' && *at != ']') {
        at++;
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == ']')) {
            return true;
        }
        at = strpbrk(at, " ]");
    }
    return false;
}

/* Whether the address is the sum of two registers. */
static bool indexed(const char *operands) {
    const char *at = strchr(operands, '[');
    at = at != NULL ? strpbrk(at, ",]") : NULL;
    return at != NULL && at[0] == ',' && at[1] == ' ' && at[2] != '#';
}

/* A base register that changes, "[r1], #4" or "[r1, #4]!". */
static bool writes_back(const char *operands) {
    const char *end = strchr(operands, ']');
    return end != NULL && end[1] != '\0';
}

static uint64_t float_cycles(const char *mnemonic, const char *operands) {
    const bool wide = operands[0] == 'd';
    if (starts(mnemonic, "vldr") || starts(mnemonic, "vstr")) {
        return wide ? 3 : 2;
    }
    if (strchr(operands, '{') != NULL) {
        return 1 + listed(operands);
    }
    if (starts(mnemonic, "vdiv") || starts(mnemonic, "vsqrt")) {
        return 14;
    }
    static const char *const accumulating[] = {"vmla", "vmls", "vfma", "vfms",
                                               "vfnm", "vnml", NULL};
    return is_one_of(mnemonic, accumulating) ? 3 : 1;
}

/* Loads and stores of one register. A load is pipelined behind a load. */
static uint64_t single_cycles(bool load, const char *operands, const before *previous) {
    const bool chained = addressed_by(operands, previous->target);
    uint64_t taken = load || indexed(operands) ? 2 : 1;
    if (taken == 2 && previous->load && !chained && !(load && writes_back(operands))) {
        taken = 1;
    }
    return taken + (previous->writes && chained ? 1 : 0);
}

/* Cycles of an instruction, without the refill of a branch; what the next must know of it. */
static uint64_t cycles_of(const char *text, before *known) {
    static const char *const without_target[] = {"cmp", "cmn", "tst", "teq", "it", "nop",
                                                 "b",   "cbz", "cbn", "v",   NULL};
    static const char *const with_b[] = {"bic", "bfi", "bfc", NULL};
    char mnemonic[16] = "";
    sscanf(text, "%15s", mnemonic);
    const char *operands = text + strlen(mnemonic);
    operands += strspn(operands, " \t");
    const before previous = *known;
    *known = (before){.load = false};

    const bool load = starts(mnemonic, "ldr"), store = starts(mnemonic, "str");
    const bool two = starts(mnemonic, "ldrd") || starts(mnemonic, "strd");
    if (two) {
        const bool late = previous.writes && addressed_by(operands, previous.target);
        return 3 + (late ? 1 : 0);
    }
    const size_t length = strcspn(operands, ",");
    if (length < sizeof known->target) {
        memcpy(known->target, operands, length);
        known->target[length] = '\0';
    }
    if (load || store) {
        known->load = load && !writes_back(operands);
        return single_cycles(load, operands, &previous);
    }
    if (mnemonic[0] == 'v') {
        return float_cycles(mnemonic, operands);
    }
    if (strchr(operands, '{') != NULL) {
        return 1 + listed(operands);
    }
    if (starts(mnemonic, "sdiv") || starts(mnemonic, "udiv")) {
        known->writes = true;
        return DIVISION;
    }
    if (starts(mnemonic, "tbb") || starts(mnemonic, "tbh")) {
        return 3;
    }
    known->writes = is_one_of(mnemonic, with_b) || !is_one_of(mnemonic, without_target);
    return 1;
}

static void on_begin(unsigned int vcpu, void *user) {
    (void)vcpu;
    (void)user;
    executed_begin = executed;
    cycles_begin = cycles;
}

static void on_end(unsigned int vcpu, void *user) {
    (void)vcpu;
    (void)user;
    fprintf(marks.out, "%" PRIu64 " %" PRIu64 "\n", executed - executed_begin,
            cycles - cycles_begin);
    fflush(marks.out);
}

static void on_block(unsigned int vcpu, void *user) {
    (void)vcpu;
    const block *here = user;
    if (last != NULL && here->start != last->next) {
        cycles += REFILL;
    }
    last = here;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(tb);
    block *here = malloc(sizeof *here); /* as long as the emulator runs */
    before known = {.load = false};
    for (size_t i = 0; here != NULL && i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        const uint64_t address = qemu_plugin_insn_vaddr(insn);
        char *text = qemu_plugin_insn_disas(insn);
        const uint64_t taken = cycles_of(text, &known);
        free(text);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &cycles,
                                                   taken);
        if (i == 0) {
            here->start = address;
        }
        here->next = address + qemu_plugin_insn_size(insn);
        if (address == marks.begin || address == marks.end) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, address == marks.begin ? on_begin : on_end,
                                                   QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, here);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments) {
    (void)info;
    if (plugin_read_marks(&marks, count, arguments) != 0) {
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
