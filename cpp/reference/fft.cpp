// reference/fft.cpp -- long convolutions as the formulas say them, summed in float64
//
// One term per (output, tap), and no shared code with the fast paths.
#include "reference/fft.hpp"

namespace omniconv::reference {
namespace {

// body(o, tap, reverse, source) for every term of every output whose source element exists.
template <class Body>
void for_each_term(const FftConvDesc& d, Body&& body) {
  const int64_t outputs = fft_conv_output_length(d);
  const int64_t offset = d.mode == FftMode::same ? d.taps / 2 : d.mode == FftMode::valid ? d.taps - 1 : 0;
  for (int64_t o = 0; o < outputs; ++o)
    for (int reverse = 0; reverse < 2; ++reverse)
      for (int64_t j = 0; j < (reverse ? d.reverse_taps : d.taps); ++j) {
        int64_t t = o + offset + (reverse ? j : -j);
        if (d.mode == FftMode::circular) t = (t % d.length + d.length) % d.length;
        if (t >= 0 && t < d.length) body(o, j, reverse == 1, t);
      }
}

}  // namespace

template <class T>
void fft_conv_row(const FftConvDesc& desc, const T* v, const T* k, const T* reverse, double* conv) {
  for (int64_t o = 0; o < fft_conv_output_length(desc); ++o) conv[o] = 0;
  for_each_term(
      desc, [&](int64_t o, int64_t j, bool r, int64_t t) { conv[o] += double(r ? reverse[j] : k[j]) * double(v[t]); });
}

template <class T>
void fft_conv_row_adjoint(const FftConvDesc& desc, const T* grad, const T* k, const T* reverse, double* dv) {
  for (int64_t t = 0; t < desc.length; ++t) dv[t] = 0;
  for_each_term(
      desc, [&](int64_t o, int64_t j, bool r, int64_t t) { dv[t] += double(r ? reverse[j] : k[j]) * double(grad[o]); });
}

template <class T>
void fft_conv_row_kernel(const FftConvDesc& desc, const T* v, const T* grad, double* dk, double* dreverse) {
  for_each_term(
      desc, [&](int64_t o, int64_t j, bool r, int64_t t) { (r ? dreverse : dk)[j] += double(v[t]) * double(grad[o]); });
}

#define OMNICONV_REFERENCE(T)                                                                    \
  template void fft_conv_row(const FftConvDesc&, const T*, const T*, const T*, double*);         \
  template void fft_conv_row_adjoint(const FftConvDesc&, const T*, const T*, const T*, double*); \
  template void fft_conv_row_kernel(const FftConvDesc&, const T*, const T*, double*, double*);
OMNICONV_REFERENCE(float)
OMNICONV_REFERENCE(double)
#undef OMNICONV_REFERENCE

}  // namespace omniconv::reference
