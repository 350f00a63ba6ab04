/* A QEMU plugin: instructions between two functions, and an ESTIMATE of the cycles that a Cortex-M4
 * takes for them (cortex_m4.h); a line "instructions cycles" for each time.
 *
 * Arguments: plugin_marks, and sites=FILE with a line "call return" for each call that is to be
 * counted by itself: hexadecimal addresses of the instruction that calls and of the one after it. The
 * line then goes on with "instructions cycles calls" for each site: of what is called, and of what
 * lies between the site and the return before it. */
#include "cortex_m4.h"
#include "plugin.h"

int qemu_plugin_version = 1;

/* A translated block: where it begins, and what follows it in memory. */
typedef struct {
    uint64_t start, next;
} block;

typedef struct {
    uint64_t call, after, executed, cycles, calls;
} site;

static uint64_t executed, cycles;
static uint64_t executed_begin, cycles_begin;   /* at the mark */
static uint64_t executed_before, cycles_before; /* at the mark or the last return to a site */
static const block *last;
static plugin_marks marks;
static site *sites;
static const site *called; /* the site whose call has not come back */
static size_t site_count;

static void on_begin(unsigned int vcpu, void *user) {
    (void)vcpu;
    (void)user;
    executed_begin = executed_before = executed;
    cycles_begin = cycles_before = cycles;
    for (size_t i = 0; i < site_count; i++) {
        sites[i].executed = sites[i].cycles = sites[i].calls = 0;
    }
}

static void on_end(unsigned int vcpu, void *user) {
    (void)vcpu;
    (void)user;
    fprintf(marks.out, "%" PRIu64 " %" PRIu64, executed - executed_begin, cycles - cycles_begin);
    for (size_t i = 0; i < site_count; i++) {
        fprintf(marks.out, " %" PRIu64 " %" PRIu64 " %" PRIu64, sites[i].executed, sites[i].cycles,
                sites[i].calls);
    }
    fprintf(marks.out, "\n");
    fflush(marks.out);
}

static void on_call(unsigned int vcpu, void *user) {
    (void)vcpu;
    called = user;
}

static void on_return(unsigned int vcpu, void *user) {
    (void)vcpu;
    site *here = user;
    if (called != here) {
        return; /* a jump to where a call would come back */
    }
    called = NULL;
    here->executed += executed - executed_before;
    here->cycles += cycles - cycles_before;
    here->calls++;
    executed_before = executed;
    cycles_before = cycles;
}

static void on_block(unsigned int vcpu, void *user) {
    (void)vcpu;
    const block *here = user;
    if (last != NULL && here->start != last->next) {
        cycles += REFILL;
    }
    last = here;
}

/* What is to be done at an address; before the instruction there is counted. */
static void watch(struct qemu_plugin_insn *insn, uint64_t address) {
    for (size_t i = 0; i < site_count; i++) {
        if (address == sites[i].after) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_return, QEMU_PLUGIN_CB_NO_REGS,
                                                   &sites[i]);
        }
        if (address == sites[i].call) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_call, QEMU_PLUGIN_CB_NO_REGS,
                                                   &sites[i]);
        }
    }
    if (address == marks.begin || address == marks.end) {
        qemu_plugin_register_vcpu_insn_exec_cb(insn, address == marks.begin ? on_begin : on_end,
                                               QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
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
        watch(insn, address);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &cycles,
                                                   taken);
        if (i == 0) {
            here->start = address;
        }
        here->next = address + qemu_plugin_insn_size(insn);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, here);
}

/* 0, or -1 after a complaint. */
static int read_sites(const char *name) {
    FILE *file = fopen(name, "r");
    uint64_t call, after;
    while (file != NULL && fscanf(file, "%" SCNx64 " %" SCNx64, &call, &after) == 2) {
        site *more = realloc(sites, (site_count + 1) * sizeof *sites);
        if (more == NULL) {
            break;
        }
        sites = more;
        sites[site_count++] = (site){.call = call, .after = after};
    }
    if (file == NULL || !feof(file)) {
        fprintf(stderr, "plugin: cannot read %s\n", name);
        return -1;
    }
    fclose(file);
    return 0;
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments) {
    (void)info;
    if (plugin_read_marks(&marks, count, arguments) != 0) {
        return 1;
    }
    for (int i = 0; i < count; i++) {
        if (strncmp(arguments[i], "sites=", 6) == 0 && read_sites(arguments[i] + 6) != 0) {
            return 1;
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
