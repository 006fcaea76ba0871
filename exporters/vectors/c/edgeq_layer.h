/* One layer of a network as integers: what it reads, its constants, and what a device has to answer.
 *
 * All tensors are int8 and lie in memory in the order of their shape, the last dimension fastest (images: NHWC). A shape
 * has four dimensions; missing ones are 1 at the front. A rescaling by a real number is a mantissa `multiplier` in Q31
 * and a `shift` (positive: to the left): multiplier * 2^(shift - 31).
 */
#ifndef EDGEQ_LAYER_H
#define EDGEQ_LAYER_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    EDGEQ_CONV,
    EDGEQ_DEPTHWISE_CONV,
    EDGEQ_FULLY_CONNECTED,
    EDGEQ_ADD,
    EDGEQ_SUB,
    EDGEQ_MUL,
    EDGEQ_AVERAGE_POOL,
    EDGEQ_MAX_POOL,
    EDGEQ_MEAN,
    EDGEQ_REQUANTIZE,
    EDGEQ_MINIMUM,
    EDGEQ_MAXIMUM,
    EDGEQ_RESHAPE,
    EDGEQ_PAD,
    EDGEQ_SLICE,
    EDGEQ_TRANSPOSE,
    EDGEQ_CONCATENATION
} edgeq_kind;

typedef struct {
    const int8_t *values;
    int32_t shape[4];
    int32_t zero_point;
    int32_t multiplier; /* ADD, SUB: of this operand; of an output: of the result */
    int32_t shift;
} edgeq_tensor;

typedef struct {
    const char *name;
    edgeq_kind kind;
    int32_t input_count;
    const edgeq_tensor *inputs;
    edgeq_tensor output;       /* values: the answer */
    const int8_t *weights;     /* CONV: out, height, width, in. DEPTHWISE_CONV: 1, height, width, out. FULLY_CONNECTED: out, in */
    int32_t weights_shape[4];
    const int32_t *bias;       /* one an output channel, as multiplier and shift */
    const int32_t *multiplier;
    const int32_t *shift;
    int32_t rounds_once;       /* FULLY_CONNECTED: whether the sum is rounded once instead of twice */
    int32_t window[2];         /* pooling: height, width */
    int32_t stride[2];         /* height, width */
    int32_t dilation[2];
    int32_t pad[2];            /* top, left */
    int32_t left_shift;        /* ADD, SUB: bits of headroom before the operands are rescaled */
    int32_t low, high;         /* bounds of the output */
    int32_t begin[4];          /* SLICE: first element. PAD: elements in front */
    int32_t step[4];           /* SLICE */
    int32_t axes[4];           /* TRANSPOSE: the input dimension of each output dimension. MEAN: 1 where it averages */
    int32_t axis;              /* CONCATENATION */
} edgeq_layer;

#endif
