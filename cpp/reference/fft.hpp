// reference/fft.hpp -- long convolutions as the formulas say them, summed in float64: the oracle of every transform
#pragma once

#include "omniconv/fft.hpp"

namespace omniconv::reference {

// The values of one row before skip, bias, activation and gates: conv[o] of the header for o < fft_conv_output_length.
// `reverse` is null without reverse taps. All arrays are dense.
template <class T>
void fft_conv_row(const FftConvDesc& desc, const T* v, const T* k, const T* reverse, double* conv);

// The same from gradients of conv to those of v, and of the kernels (added to dk and dreverse).
template <class T>
void fft_conv_row_adjoint(const FftConvDesc& desc, const T* grad, const T* k, const T* reverse, double* dv);
template <class T>
void fft_conv_row_kernel(const FftConvDesc& desc, const T* v, const T* grad, double* dk, double* dreverse);

}  // namespace omniconv::reference
