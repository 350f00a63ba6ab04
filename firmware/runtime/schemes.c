/* Several schemes in one firmware: which one trains, and how the device chooses. Nothing where the
 * model has one. Reference: tinytrain/training/fisher.py, bit for bit. */
#include "model.h"
#include "tinytrain/tt_runtime.h"

#ifdef TT_SCHEMES

enum { IN_USE, SEEN }; /* of tt_model_choice */

/* The state can be written from outside. */
uint32_t tt_scheme_in_use(void) {
    return tt_model_choice[IN_USE] < TT_SCHEMES ? tt_model_choice[IN_USE] : 0;
}

tt_status tt_use(uint32_t scheme) {
    if (scheme >= TT_SCHEMES) {
        return TT_BAD_SCHEME;
    }
    tt_model_choice[IN_USE] = scheme;
    return TT_OK;
}

void tt_model_train(const tt_step *st, tt_metrics *metrics) {
    tt_model_schemes[tt_scheme_in_use()].train(st, metrics);
}

tt_status tt_probe(tt_metrics *metrics) {
    const tt_status status = tt_check_sample();
    if (status != TT_OK) {
        return status;
    }
    const float seen = (float)tt_model_choice[SEEN];
    tt_step at = tt_run.step;
    at.step += tt_model_choice[SEEN]; /* other random numbers for each sample */
    at.learning_rate = 0.0f;
    at.beta = seen / (seen + 1.0f); /* a moment is the mean over all samples */
    for (uint32_t i = 0; i < TT_SCHEMES; i++) {
        tt_model_schemes[i].train(&at, metrics);
    }
    tt_model_choice[SEEN]++;
    return TT_OK;
}

uint32_t tt_worth_q24(uint32_t scheme) {
    const tt_scheme *s = &tt_model_schemes[scheme];
    float total = 0.0f;
    for (uint32_t i = 0; i < s->count; i++) {
        const float part = s->terms[i].factor * s->terms[i].moment[0];
        total += part;
    }
    total *= 16777216.0f;
    return total < 4294967296.0f ? (uint32_t)total : UINT32_MAX;
}

uint32_t tt_choose(void) {
    uint32_t best = tt_scheme_in_use();
    if (tt_model_choice[SEEN] == 0) {
        return best;
    }
    for (uint32_t i = 0; i < TT_SCHEMES; i++) {
        best = tt_worth_q24(i) > tt_worth_q24(best) ? i : best;
    }
    for (uint32_t i = 0; i < TT_SCHEMES; i++) {
        const tt_scheme *s = &tt_model_schemes[i];
        for (uint32_t k = 0; k < s->count; k++) {
            s->terms[k].moment[0] = 0.0f;
        }
    }
    tt_model_choice[IN_USE] = best;
    tt_model_choice[SEEN] = 0;
    return best;
}

#endif
