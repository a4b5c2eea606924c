// conv/c_api.hpp -- the options of the C interface, for the families that take them too
#pragma once

#include "core/c_api.hpp"
#include "omniconv/conv.hpp"

namespace omniconv::c_api {

ConvOp parse(omniconv_conv_op op);
ConvDesc describe(ConvOp op, const omniconv_conv_options* given);
ConvDesc describe(ConvOp op, const omniconv_conv_options* options, const DLTensor* x, const DLTensor* weight);

}  // namespace omniconv::c_api
