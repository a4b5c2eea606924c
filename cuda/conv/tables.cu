// conv/tables.cu -- the list of algorithms of dense convolution on CUDA
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

const DeviceAlgorithm* const kAlgorithms[] = {&kTensorCores, &kImplicitGemm, &kDepthwise, &kReference};

}  // namespace

const conv::DeviceConv kConv = {kAlgorithms, int(sizeof kAlgorithms / sizeof kAlgorithms[0]), fill_epilogue,
                                fold_border, grad_bias};

}  // namespace omniconv::cuda
