// conv/device_conv.hpp -- dense convolution on a device: the table of its plugin
#pragma once

#include <cstddef>

#include "conv/geometry.hpp"
#include "core/device_plugin.hpp"

namespace omniconv::conv {

// One call. For forward problems (whole ones, and the phases of the gradient of x) x is read and y written; for the
// gradient of the weights y is the gradient of the output, read only. Pointers are the device's; strides count
// elements.
struct DeviceCall {
  const Problem* problem;
  int device;
  void* stream;
  bool float64;
  const void* x;
  Strides xs;
  void* y;
  Strides ys;
  const void* residual;  // null: none; so are bias and scale
  Strides rs;
  const void* bias;
  const void* scale;
  int64_t bias_stride, scale_stride;
  Activation activation;
  double negative_slope;
  void* weight;  // read by pack, written by grad_weight
  WeightView view;
  void* packed;  // written by pack, then read by forward
  void* workspace;
};

// What is asked of an algorithm: a forward problem, or the gradient of the weights of one.
struct DeviceAsk {
  const Problem* problem;
  bool grad_weight;
  bool float64;
};

struct DeviceAlgorithm {
  const char* name;
  const char* summary;
  void (*decline)(const DeviceAsk*, DeviceMessage*);  // why not, or no text
  size_t (*workspace)(const DeviceAsk*);
  size_t (*packed)(const DeviceAsk*);  // bytes of the weights in a form of its own; never 0
  double (*cost)(const DeviceAsk*);    // predicted seconds, for comparing algorithms
  int (*pack)(const DeviceCall*, DeviceMessage*);
  int (*forward)(const DeviceCall*, DeviceMessage*);
  int (*grad_weight)(const DeviceCall*, DeviceMessage*);
};

struct DeviceConv {
  const DeviceAlgorithm* const* algorithms;  // in the order in which ties are resolved
  int count;
  // y = epilogue of a sum of no terms, over the inputs of `problem`.
  int (*fill)(const DeviceCall*, DeviceMessage*);
  // y = epilogue of the gradient of x, from x: the gradient of the padded input, a dense tensor of `padded`'s inputs.
  int (*fold)(const DeviceCall*, const Problem* padded, DeviceMessage*);
  // weight[c * view.co] = sum of y [batch, c, plane] in float64, c over co channels.
  int (*grad_bias)(const DeviceCall*, DeviceMessage*);
};

}  // namespace omniconv::conv
