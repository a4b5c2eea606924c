// reference/conv.hpp -- dense convolution as the formulas say it, summed in float64: the oracle of every kernel
#pragma once

#include "conv/problem.hpp"
#include "omniconv/conv.hpp"

namespace omniconv::reference {

// Same meaning as conv::Operands, for float or double. Tensors are addressed by stride only.
template <class T>
struct ConvOperands {
  const T* a = nullptr;  // forward: x; gradients: gradient of y
  conv::Strides as;
  const T* b = nullptr;  // forward, grad_input: w (through `view`); grad_weight: x
  conv::Strides bs;
  conv::WeightView view;
  T* out = nullptr;  // y, gradient of x, or gradient of w (through `view`)
  conv::Strides os;
  const T* residual = nullptr;
  conv::Strides rs;
  const T* bias = nullptr;
  const T* scale = nullptr;
  Activation activation = Activation::none;
  double negative_slope = 0;
};

double activate(Activation activation, double x, double negative_slope);

template <class T>
void conv_forward(const conv::Problem& p, const ConvOperands<T>& m);
template <class T>
void conv_grad_input(const conv::Problem& p, const ConvOperands<T>& m);
template <class T>
void conv_grad_weight(const conv::Problem& p, const ConvOperands<T>& m);

}  // namespace omniconv::reference
