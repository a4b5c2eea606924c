// conv/convolve.cpp -- descriptions from arrays, and a convolution in one call
#include <string>

#include "omniconv/conv.hpp"

namespace omniconv {
namespace {

void require(const TensorView& v, const char* name) {
  if (!v.defined()) throw Error(Code::invalid_argument, std::string(name) + " is missing");
}

}  // namespace

ConvDesc& ConvDesc::take_shapes(const TensorView& x, const TensorView& w) {
  require(x, "x");
  require(w, "weight");
  if (w.ndim < 3 || w.ndim > 5)
    throw Error(Code::invalid_argument, "weight has " + std::to_string(w.ndim) + " dimensions, shape " +
                                            shape_string(w.shape.data(), w.ndim) +
                                            "; allowed are 3 to 5: output channels, input channels / groups, kernel");
  if (w.dtype != x.dtype)
    throw Error(Code::type_error, std::string("weight has dtype ") + name(w.dtype) + "; x has " + name(x.dtype));
  x_shape.assign(x.shape.begin(), x.shape.begin() + x.ndim);
  w_shape.assign(w.shape.begin(), w.shape.begin() + w.ndim);
  dtype = x.dtype;
  device = x.device;
  spatial = w.ndim - 2;
  channels_last |= x.ndim > 1 && x.strides[1] == 1;
  return *this;
}

void convolve(ConvDesc desc, const ConvOperands& o) {
  require(o.out, "out");
  switch (desc.op) {
    case ConvOp::forward: desc.take_shapes(o.a, o.b); break;
    case ConvOp::grad_input: desc.take_shapes(o.out, o.b); break;
    case ConvOp::grad_weight: desc.take_shapes(o.b, o.out); break;
  }
  desc.weights_change = true;
  ConvPlan(desc).run(o);
}

}  // namespace omniconv
