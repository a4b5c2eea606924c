// conv/tables.cu -- the list of algorithms of dense convolution on CUDA
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

const DeviceAlgorithm* const kAlgorithms[] = {
    &kTensorCores,    &kImplicitGemm,   &kIm2win,         &kDepthwise,      &kDepthwiseLarge, &kIm2winFull,
    &kIm2winSteps[0], &kIm2winSteps[1], &kIm2winSteps[2], &kIm2winSteps[3], &kIm2winSteps[4], &kReference,
};

}  // namespace

const conv::DeviceConv kConv = {kAlgorithms, int(sizeof kAlgorithms / sizeof kAlgorithms[0]), fill_epilogue,
                                fold_border, grad_bias};

}  // namespace omniconv::cuda
