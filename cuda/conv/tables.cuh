// conv/tables.cuh -- the algorithms of dense convolution on CUDA, each in the file of its name
#pragma once

#include "conv/arguments.cuh"

namespace omniconv::cuda {

extern const DeviceAlgorithm kDepthwise, kDepthwiseLarge, kIm2win, kIm2winFull, kImplicitGemm, kReference, kTensorCores;
extern const DeviceAlgorithm kIm2winSteps[5];  // that lead to im2win_full, the last first

int fill_epilogue(const DeviceCall* call, DeviceMessage* message);
int fold_border(const DeviceCall* call, const Problem* padded, DeviceMessage* message);
int grad_bias(const DeviceCall* call, DeviceMessage* message);

extern const conv::DeviceConv kConv;

}  // namespace omniconv::cuda
