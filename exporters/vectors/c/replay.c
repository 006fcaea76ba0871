/* Replays layers and compares every integer with the recorded answer. Ends with 0 where all agree, else with 1.
 *
 *     cc -std=c99 -O2 -o replay replay.c && ./replay
 *     cc -std=c99 -O2 -DEDGEQ_LAYERS='"layer_003.h"' -o replay replay.c && ./replay    (one layer only)
 */
#include <stdio.h>
#include <stdlib.h>

#include "edgeq_kernels.h"

#ifndef EDGEQ_LAYERS
#define EDGEQ_LAYERS "layers.h"
#endif
#include EDGEQ_LAYERS

static int32_t compare(const edgeq_layer *layer) {
    const int32_t size = edgeq_size(layer->output.shape);
    int8_t *answer = malloc((size_t)size);
    int32_t differ = 0, first = -1;
    if (answer == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    edgeq_run(layer, answer);
    for (int32_t i = 0; i < size; ++i) {
        if (answer[i] == layer->output.values[i]) continue;
        if (first < 0) first = i;
        ++differ;
    }
    if (differ == 0) {
        printf("same    %8ld  %s\n", (long)size, layer->name);
    } else {
        printf("DIFFER  %8ld  %s: %ld integers, the first at %ld: %d, recorded %d\n", (long)size, layer->name, (long)differ, (long)first,
               answer[first], layer->output.values[first]);
    }
    free(answer);
    return differ;
}

int main(void) {
    const size_t count = sizeof edgeq_layers / sizeof edgeq_layers[0];
    int failed = 0;
    for (size_t i = 0; i < count; ++i) {
        if (compare(edgeq_layers[i]) != 0) failed = 1;
    }
    return failed;
}
