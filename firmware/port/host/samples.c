/* Many steps in one call, for tinytrain/sessions/host_session.py. */
#include <string.h>

#include "model.h"
#include "tinytrain/tt_runtime.h"

tt_status tt_train_samples(const uint8_t *inputs, const int16_t *labels, int32_t count,
                           tt_metrics *metrics);

/* One step on each sample in turn: inputs [count, TT_INPUT_BYTES], labels [count, TT_LABELS],
 * metrics [count]. Stops at the first one that is refused. */
tt_status tt_train_samples(const uint8_t *inputs, const int16_t *labels, int32_t count,
                           tt_metrics *metrics) {
    tt_status status = TT_OK;
    for (int32_t i = 0; i < count && status == TT_OK; i++) {
        memcpy(tt_model_input, inputs, TT_INPUT_BYTES);
        memcpy(tt_model_labels, labels, TT_LABELS * sizeof *labels);
        status = tt_train_step(metrics + i);
        inputs += TT_INPUT_BYTES;
        labels += TT_LABELS;
    }
    return status;
}
