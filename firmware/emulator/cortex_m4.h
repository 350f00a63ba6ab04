/* An ESTIMATE of the cycles that a Cortex-M4 takes for an instruction, from its disassembly.
 *
 * Timing: Arm, Cortex-M4 Technical Reference Manual (DDI 0439), sections 3.3 and 7.2.3, for memory
 * without wait states. Where it gives a range: 2 cycles of 1 to 3 for the pipeline after a branch
 * that is taken, 7 of 2 to 12 for a division. */
#ifndef TT_CORTEX_M4_H
#define TT_CORTEX_M4_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define REFILL 2
#define DIVISION 7

/* What the timing of an instruction depends on in the one before. */
typedef struct {
    bool load, writes;
    char target[8]; /* the register that it writes */
} before;

static inline bool starts(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

static inline bool is_one_of(const char *mnemonic, const char *const *list) {
    for (; *list != NULL; list++) {
        if (starts(mnemonic, *list)) {
            return true;
        }
    }
    return false;
}

/* Words that "{r4, r5, lr}" or "{d8, d9}" moves. */
static inline uint64_t listed(const char *operands) {
    uint64_t count = 1;
    for (const char *at = strchr(operands, '{'); at != NULL && *at != '\0' && *at != '}'; at++) {
        count += *at == ',';
    }
    return strstr(operands, "{d") != NULL ? 2 * count : count;
}

/* Whether the address in "[r1, r2, lsl #2]" is made of this register. */
static inline bool addressed_by(const char *operands, const char *name) {
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
static inline bool indexed(const char *operands) {
    const char *at = strchr(operands, '[');
    at = at != NULL ? strpbrk(at, ",]") : NULL;
    return at != NULL && at[0] == ',' && at[1] == ' ' && at[2] != '#';
}

/* A base register that changes, "[r1], #4" or "[r1, #4]!". */
static inline bool writes_back(const char *operands) {
    const char *end = strchr(operands, ']');
    return end != NULL && end[1] != '\0';
}

static inline uint64_t float_cycles(const char *mnemonic, const char *operands) {
    const bool wide = operands[0] == 'd';
    if (starts(mnemonic, "vldr") || starts(mnemonic, "vstr")) {
        return wide ? 3 : 2;
    }
    if (strchr(operands, '{') != NULL) {
        return 1 + listed(operands);
    }
    if (starts(mnemonic, "vmov")) { /* two registers of each kind take two cycles */
        const char *second = strchr(operands, ',');
        return second != NULL && strchr(second + 1, ',') != NULL ? 2 : 1;
    }
    if (starts(mnemonic, "vdiv") || starts(mnemonic, "vsqrt")) {
        return 14;
    }
    static const char *const accumulating[] = {"vmla", "vmls", "vfma", "vfms",
                                               "vfnm", "vnml", NULL};
    return is_one_of(mnemonic, accumulating) ? 3 : 1;
}

/* Loads and stores of one register. A load is pipelined behind a load. */
static inline uint64_t single_cycles(bool load, const char *operands, const before *previous) {
    const bool chained = addressed_by(operands, previous->target);
    uint64_t taken = load || indexed(operands) ? 2 : 1;
    if (taken == 2 && previous->load && !chained && !(load && writes_back(operands))) {
        taken = 1;
    }
    return taken + (previous->writes && chained ? 1 : 0);
}

/* Cycles of an instruction, without the refill of a branch; what the next must know of it. */
static inline uint64_t cycles_of(const char *text, before *known) {
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

#endif
