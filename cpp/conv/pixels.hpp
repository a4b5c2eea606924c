// conv/pixels.hpp -- the pixels of a tensor as one row, counted over all images: where each is
#pragma once

#include <algorithm>

#include "conv/problem.hpp"

namespace omniconv::conv {

// How many consecutive pixels (w fastest) have a constant stride, in one tensor.
int64_t run_length(const Problem& p, const Strides& s);
// Stride between consecutive pixels of a run.
int64_t pixel_stride(const Problem& p, const Strides& s);
// Of a pixel from the start of the tensor.
int64_t offset_of(const Problem& p, const Strides& s, int64_t pixel);

// Strides between the pixels that a kernel of one tap reads.
inline Strides strides_of_reads(const Problem& p, Strides s) {
  for (int i = 0; i < kAxes; ++i) s.axis[i] *= p.axis[i].stride;
  return s;
}

// The above found once: with the divisions of offset_of, tiles of a few hundred cycles would wait for them.
struct Pixels {
  const Problem& p;
  Strides strides;
  int64_t run, step;

  Pixels(const Problem& problem, const Strides& s)
      : p(problem), strides(s), run(run_length(problem, s)), step(pixel_stride(problem, s)) {}
  int64_t offset(int64_t pixel) const { return pixel < run ? pixel * step : offset_of(p, strides, pixel); }
  // Pixels from this one on that are `step` apart.
  int64_t left(int64_t pixel) const { return pixel < run ? run - pixel : run - pixel % run; }
};

}  // namespace omniconv::conv
