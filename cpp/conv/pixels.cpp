// conv/pixels.cpp -- where the pixels of a tensor are, counted over all images
#include "conv/pixels.hpp"

namespace omniconv::conv {

int64_t run_length(const Problem& p, const Strides& s) {
  int64_t run = p.axis[2].out, stride = s.axis[2];
  if (run == 1) stride = s.axis[1];
  for (int i : {1, 0}) {
    if (p.axis[i].out == 1) continue;
    if (run > 1 && s.axis[i] != run * stride) return run;
    if (run == 1) stride = s.axis[i];
    run *= p.axis[i].out;
  }
  return p.batch > 1 && s.n == run * stride ? run * p.batch : run;
}

int64_t pixel_stride(const Problem& p, const Strides& s) {
  for (int i : {2, 1, 0})
    if (p.axis[i].out > 1) return s.axis[i];
  return s.n;
}

int64_t offset_of(const Problem& p, const Strides& s, int64_t pixel) {
  const int64_t w = pixel % p.axis[2].out, row = pixel / p.axis[2].out;
  const int64_t h = row % p.axis[1].out, slice = row / p.axis[1].out;
  const int64_t d = slice % p.axis[0].out, n = slice / p.axis[0].out;
  return n * s.n + d * s.axis[0] + h * s.axis[1] + w * s.axis[2];
}

}  // namespace omniconv::conv
