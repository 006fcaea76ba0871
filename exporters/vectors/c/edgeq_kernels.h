/* The arithmetic of every kind of layer, written for reading: integers only, no allocation, nothing but this file.
 *
 * Rounding is that of TensorFlow Lite's reference kernels, which round twice: once after the product with the mantissa,
 * to nearest, and once after the shift to the right, to nearest, ties away from zero. Only their fully connected layers may
 * round once, after the shift; the layer says so.
 */
#ifndef EDGEQ_KERNELS_H
#define EDGEQ_KERNELS_H

#include "edgeq_layer.h"

/* ---- fixed point ------------------------------------------------------------------------------------------------- */

static int32_t edgeq_high_product(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
    const int64_t product = (int64_t)a * b;
    const int64_t half = (int64_t)1 << 30;
    return (int32_t)((product >= 0 ? product + half : product + 1 - half) / ((int64_t)1 << 31));
}

static int32_t edgeq_shift_right(int32_t x, int32_t bits) {
    if (bits == 0) return x;
    const int64_t half = (int64_t)1 << (bits - 1);
    return (int32_t)(x >= 0 ? ((int64_t)x + half) >> bits : -((-(int64_t)x + half) >> bits));
}

static int32_t edgeq_rescale(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t left = shift > 0 ? shift : 0;
    return edgeq_shift_right(edgeq_high_product((int32_t)((int64_t)x * ((int64_t)1 << left)), multiplier), left - shift);
}

static int32_t edgeq_rescale_once(int32_t x, int32_t multiplier, int32_t shift) {
    const int64_t product = (int64_t)x * multiplier, half = (int64_t)1 << (30 - shift);
    return (int32_t)(product >= 0 ? (product + half) >> (31 - shift) : -((half - product) >> (31 - shift)));
}

static int8_t edgeq_clamp(int32_t x, int32_t low, int32_t high) { return (int8_t)(x < low ? low : x > high ? high : x); }

/* ---- places in memory -------------------------------------------------------------------------------------------- */

static int32_t edgeq_at(const int32_t shape[4], int32_t a, int32_t b, int32_t c, int32_t d) {
    return ((a * shape[1] + b) * shape[2] + c) * shape[3] + d;
}

static int32_t edgeq_size(const int32_t shape[4]) { return shape[0] * shape[1] * shape[2] * shape[3]; }

/* The four coordinates of a place. */
static void edgeq_where(const int32_t shape[4], int32_t place, int32_t at[4]) {
    for (int32_t i = 3; i >= 0; --i) {
        at[i] = place % shape[i];
        place /= shape[i];
    }
}

/* A place in a tensor that is repeated along its dimensions of one element. */
static int32_t edgeq_repeated(const int32_t shape[4], const int32_t at[4]) {
    int32_t place = 0;
    for (int32_t i = 0; i < 4; ++i) place = place * shape[i] + (shape[i] == 1 ? 0 : at[i]);
    return place;
}

/* ---- sums of products -------------------------------------------------------------------------------------------- */

static void edgeq_conv(const edgeq_layer *l, int8_t *answer) {
    const edgeq_tensor *x = &l->inputs[0];
    const int32_t *in = x->shape, *out = l->output.shape, *w = l->weights_shape;
    const int32_t depthwise = l->kind == EDGEQ_DEPTHWISE_CONV;
    const int32_t channels = out[3], taps = depthwise ? 1 : w[3];
    const int32_t per_group = depthwise ? channels / in[3] : channels / (in[3] / taps);
    for (int32_t place = 0; place < edgeq_size(out); ++place) {
        int32_t at[4];
        edgeq_where(out, place, at);
        const int32_t channel = at[3], first = channel / per_group * taps;
        int32_t sum = l->bias[channel];
        for (int32_t ky = 0; ky < w[1]; ++ky) {
            for (int32_t kx = 0; kx < w[2]; ++kx) {
                const int32_t y = at[1] * l->stride[0] - l->pad[0] + ky * l->dilation[0];
                const int32_t z = at[2] * l->stride[1] - l->pad[1] + kx * l->dilation[1];
                if (y < 0 || y >= in[1] || z < 0 || z >= in[2]) continue; /* padding stands for zero */
                for (int32_t i = 0; i < taps; ++i) {
                    const int32_t weight = l->weights[depthwise ? edgeq_at(w, 0, ky, kx, channel) : edgeq_at(w, channel, ky, kx, i)];
                    sum += weight * (x->values[edgeq_at(in, at[0], y, z, first + i)] - x->zero_point);
                }
            }
        }
        answer[place] = edgeq_clamp(edgeq_rescale(sum, l->multiplier[channel], l->shift[channel]) + l->output.zero_point, l->low, l->high);
    }
}

static void edgeq_fully_connected(const edgeq_layer *l, int8_t *answer) {
    const edgeq_tensor *x = &l->inputs[0];
    const int32_t outputs = l->weights_shape[2], inputs = l->weights_shape[3];
    for (int32_t place = 0; place < edgeq_size(l->output.shape); ++place) {
        const int32_t row = place / outputs, channel = place % outputs;
        int32_t sum = l->bias[channel];
        for (int32_t i = 0; i < inputs; ++i) {
            sum += l->weights[channel * inputs + i] * (x->values[row * inputs + i] - x->zero_point);
        }
        const int32_t scaled = (l->rounds_once ? edgeq_rescale_once : edgeq_rescale)(sum, l->multiplier[channel], l->shift[channel]);
        answer[place] = edgeq_clamp(scaled + l->output.zero_point, l->low, l->high);
    }
}

/* ---- element by element ------------------------------------------------------------------------------------------ */

static int32_t edgeq_combined(const edgeq_layer *l, int8_t first, int8_t second) {
    const edgeq_tensor *a = &l->inputs[0], *b = &l->inputs[1], *out = &l->output;
    if (l->kind == EDGEQ_MINIMUM) return first < second ? first : second;
    if (l->kind == EDGEQ_MAXIMUM) return first > second ? first : second;
    const int32_t x = first - a->zero_point, y = second - b->zero_point;
    if (l->kind == EDGEQ_MUL) return edgeq_rescale(x * y, out->multiplier, out->shift) + out->zero_point;
    const int32_t headroom = (int32_t)1 << l->left_shift;
    const int32_t scaled_x = edgeq_rescale(x * headroom, a->multiplier, a->shift);
    const int32_t scaled_y = edgeq_rescale(y * headroom, b->multiplier, b->shift);
    const int32_t sum = l->kind == EDGEQ_SUB ? scaled_x - scaled_y : scaled_x + scaled_y;
    return edgeq_rescale(sum, out->multiplier, out->shift) + out->zero_point;
}

static void edgeq_elementwise(const edgeq_layer *l, int8_t *answer) {
    for (int32_t place = 0; place < edgeq_size(l->output.shape); ++place) {
        int32_t at[4];
        edgeq_where(l->output.shape, place, at);
        const int8_t first = l->inputs[0].values[edgeq_repeated(l->inputs[0].shape, at)];
        const int8_t second = l->inputs[1].values[edgeq_repeated(l->inputs[1].shape, at)];
        answer[place] = edgeq_clamp(edgeq_combined(l, first, second), l->low, l->high);
    }
}

static void edgeq_requantize(const edgeq_layer *l, int8_t *answer) {
    const edgeq_tensor *x = &l->inputs[0], *out = &l->output;
    for (int32_t place = 0; place < edgeq_size(out->shape); ++place) {
        const int32_t level = x->values[place] - x->zero_point;
        answer[place] = edgeq_clamp(edgeq_rescale(level, out->multiplier, out->shift) + out->zero_point, l->low, l->high);
    }
}

/* ---- windows and means ------------------------------------------------------------------------------------------- */

static void edgeq_pool(const edgeq_layer *l, int8_t *answer) {
    const edgeq_tensor *x = &l->inputs[0];
    const int32_t *in = x->shape, *out = l->output.shape;
    for (int32_t place = 0; place < edgeq_size(out); ++place) {
        int32_t at[4], sum = 0, count = 0, greatest = INT8_MIN;
        edgeq_where(out, place, at);
        for (int32_t ky = 0; ky < l->window[0]; ++ky) {
            for (int32_t kx = 0; kx < l->window[1]; ++kx) {
                const int32_t y = at[1] * l->stride[0] - l->pad[0] + ky, z = at[2] * l->stride[1] - l->pad[1] + kx;
                if (y < 0 || y >= in[1] || z < 0 || z >= in[2]) continue; /* padding does not count */
                const int32_t value = x->values[edgeq_at(in, at[0], y, z, at[3])];
                sum += value;
                count += 1;
                greatest = value > greatest ? value : greatest;
            }
        }
        const int32_t mean = (sum > 0 ? sum + count / 2 : sum - count / 2) / count; /* of the integers, zero point and all */
        answer[place] = edgeq_clamp(l->kind == EDGEQ_MAX_POOL ? greatest : mean, l->low, l->high);
    }
}

static void edgeq_mean(const edgeq_layer *l, int8_t *answer) {
    const edgeq_tensor *x = &l->inputs[0], *out = &l->output;
    int32_t kept[4], window[4];
    for (int32_t i = 0; i < 4; ++i) {
        kept[i] = l->axes[i] ? 1 : x->shape[i];
        window[i] = l->axes[i] ? x->shape[i] : 1;
    }
    for (int32_t place = 0; place < edgeq_size(kept); ++place) {
        int32_t at[4], sum = 0;
        edgeq_where(kept, place, at);
        for (int32_t tap = 0; tap < edgeq_size(window); ++tap) {
            int32_t by[4];
            edgeq_where(window, tap, by);
            sum += x->values[edgeq_at(x->shape, at[0] + by[0], at[1] + by[1], at[2] + by[2], at[3] + by[3])] - x->zero_point;
        }
        answer[place] = edgeq_clamp(edgeq_rescale(sum, out->multiplier, out->shift) + out->zero_point, l->low, l->high);
    }
}

/* ---- data that only moves ---------------------------------------------------------------------------------------- */

static int8_t edgeq_moved(const edgeq_layer *l, const int32_t at[4]) {
    const edgeq_tensor *x = &l->inputs[0];
    int32_t from[4];
    for (int32_t i = 0; i < 4; ++i) {
        if (l->kind == EDGEQ_TRANSPOSE) from[l->axes[i]] = at[i];
        else if (l->kind == EDGEQ_SLICE) from[i] = l->begin[i] + at[i] * l->step[i];
        else from[i] = at[i] - l->begin[i];
    }
    for (int32_t i = 0; i < 4; ++i) {
        if (from[i] < 0 || from[i] >= x->shape[i]) return (int8_t)x->zero_point; /* PAD */
    }
    return x->values[edgeq_at(x->shape, from[0], from[1], from[2], from[3])];
}

static int8_t edgeq_joined(const edgeq_layer *l, int32_t at[4]) {
    const edgeq_tensor *x = l->inputs;
    while (at[l->axis] >= x->shape[l->axis]) {
        at[l->axis] -= x->shape[l->axis];
        ++x;
    }
    return x->values[edgeq_at(x->shape, at[0], at[1], at[2], at[3])];
}

static void edgeq_move(const edgeq_layer *l, int8_t *answer) {
    for (int32_t place = 0; place < edgeq_size(l->output.shape); ++place) {
        int32_t at[4];
        edgeq_where(l->output.shape, place, at);
        if (l->kind == EDGEQ_RESHAPE) answer[place] = l->inputs[0].values[place];
        else answer[place] = l->kind == EDGEQ_CONCATENATION ? edgeq_joined(l, at) : edgeq_moved(l, at);
    }
}

/* ---- one door ---------------------------------------------------------------------------------------------------- */

/* Compute a layer from its inputs; `answer` has room for the output. */
static void edgeq_run(const edgeq_layer *l, int8_t *answer) {
    switch (l->kind) {
        case EDGEQ_CONV:
        case EDGEQ_DEPTHWISE_CONV: edgeq_conv(l, answer); break;
        case EDGEQ_FULLY_CONNECTED: edgeq_fully_connected(l, answer); break;
        case EDGEQ_ADD:
        case EDGEQ_SUB:
        case EDGEQ_MUL:
        case EDGEQ_MINIMUM:
        case EDGEQ_MAXIMUM: edgeq_elementwise(l, answer); break;
        case EDGEQ_AVERAGE_POOL:
        case EDGEQ_MAX_POOL: edgeq_pool(l, answer); break;
        case EDGEQ_MEAN: edgeq_mean(l, answer); break;
        case EDGEQ_REQUANTIZE: edgeq_requantize(l, answer); break;
        case EDGEQ_RESHAPE:
        case EDGEQ_PAD:
        case EDGEQ_SLICE:
        case EDGEQ_TRANSPOSE:
        case EDGEQ_CONCATENATION: edgeq_move(l, answer); break;
    }
}

#endif
