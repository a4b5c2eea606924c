// dfp16/magnitude.cpp -- the largest magnitude of a strided array
#include "dfp16/magnitude.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "core/thread_pool.hpp"
#include "dfp16/format.hpp"

namespace omniconv::dfp16 {
namespace {

struct Axes {
  int count = 0;
  int64_t size[kMaxDims], stride[kMaxDims];
};

// The axes of x from `first` on, those that follow one another in memory joined, the nearest last.
Axes joined(const TensorView& x, int first) {
  Axes a;
  for (int i = first; i < x.ndim; ++i) {
    if (x.shape[i] == 1) continue;
    int at = a.count++;
    for (; at > 0 && std::abs(a.stride[at - 1]) < std::abs(x.strides[i]); --at) {
      a.size[at] = a.size[at - 1];
      a.stride[at] = a.stride[at - 1];
    }
    a.size[at] = x.shape[i];
    a.stride[at] = x.strides[i];
  }
  int kept = 0;
  for (int i = 0; i < a.count; ++i) {
    if (kept > 0 && a.stride[kept - 1] == a.stride[i] * a.size[i]) {
      a.size[kept - 1] *= a.size[i];
      a.stride[kept - 1] = a.stride[i];
      continue;
    }
    a.size[kept] = a.size[i];
    a.stride[kept++] = a.stride[i];
  }
  if (kept == 0) a.size[kept] = 1, a.stride[kept++] = 1;
  a.count = kept;
  return a;
}

// Elements [first, end) in the order of the axes.
int32_t largest(const float* x, const Axes& a, int64_t first, int64_t end, const Kernels& k) {
  const int64_t inner = a.size[a.count - 1], step = a.stride[a.count - 1];
  int32_t most = 0;
  while (first < end) {
    int64_t rest = first / inner, at = first % inner * step;
    const int64_t n = std::min(end - first, inner - first % inner);
    for (int i = a.count - 2; i >= 0; --i) {
      at += rest % a.size[i] * a.stride[i];
      rest /= a.size[i];
    }
    most = std::max(most, k.max_bits(x + at, n, step));
    first += n;
  }
  return most;
}

}  // namespace

void quantisation_of(const TensorView& x, int bits, const char* argument, const Kernels& k, int threads,
                     int32_t* partial, int32_t* exponents, int64_t count) {
  const Axes axes = joined(x, count > 1 ? 1 : 0);
  int64_t size = 1;
  for (int i = 0; i < axes.count; ++i) size *= axes.size[i];
  const int64_t parts = std::clamp<int64_t>(size / 16384, 1, kMagnitudeParts);
  parallel_for(count * parts, threads, [&](int64_t task, int) {
    const int64_t image = task / parts, part = task % parts;
    const float* from = static_cast<const float*>(x.data) + (count > 1 ? image * x.strides[0] : 0);
    partial[task] = largest(from, axes, size * part / parts, size * (part + 1) / parts, k);
  });
  for (int64_t image = 0; image < count; ++image) {
    const int32_t most = *std::max_element(partial + image * parts, partial + (image + 1) * parts);
    if (most >= 0x7f800000)
      throw Error(Code::invalid_argument,
                  std::string(argument) + " holds NaN or infinity, which have no mantissa in dynamic fixed point");
    float value;
    std::memcpy(&value, &most, sizeof value);
    exponents[image] = exponent_for(value, bits, Rounding::nearest_even);
  }
}

}  // namespace omniconv::dfp16
