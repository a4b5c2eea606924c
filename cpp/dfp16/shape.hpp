// dfp16/shape.hpp -- one convolution as a product of integer matrices whose rows lie in a source
//
// The source is a copy of one operand in int16, with its border written out; row r of the product is so many runs of
// contiguous elements of it, at fixed offsets from where the row starts, and nothing is copied a second time. The other
// operand becomes a dense matrix [column][run][element of a run].
//   forward, phases of grad_input: source [group][n][d][h][w][ci], a row for each output pixel, runs over taps (the
//     taps of a line and their channels are one run where they touch), columns are output channels.
//   grad_weight: source [group][ci][n][d][h][w modulo stride][w / stride] of x, a row for each (ci, tap), runs over
//     lines of the gradient, columns are output channels.
#pragma once

#include <vector>

#include "conv/work.hpp"
#include "dfp16/kernels.hpp"

namespace omniconv::dfp16 {

inline constexpr int64_t kWeightAlign = 64;  // elements of a row of the dense matrix: whole norm blocks and tile steps

struct Shape {
  conv::Problem problem;
  bool grad_weight = false;

  int64_t groups = 1, columns = 1;      // per group
  int64_t grid[4] = {1, 1, 1, 1};       // the rows of a group
  int64_t grid_step[3] = {0, 0, 0};     // elements of the source from a row to the next, along grid[0..2]
  std::vector<int64_t> last;            // and the offsets along grid[3]
  std::vector<int64_t> offsets;         // of the runs
  int64_t run = 2, real_run = 1;        // elements; run is even, what is past real_run meets a weight of zero
  int64_t source_group = 0;             // elements of a group
  int64_t in[conv::kAxes] = {1, 1, 1};  // the input with its border
  int64_t phases = 1, phase = 1;        // grad_weight: stride of w, elements of w / stride
  bool aligned = false;                 // chains start at multiples of kNormBlock in the source and in a column

  int64_t rows() const { return grid[0] * grid[1] * grid[2] * grid[3]; }
  int64_t terms() const { return int64_t(offsets.size()) * run; }
  int64_t column_row() const { return (terms() + kWeightAlign - 1) / kWeightAlign * kWeightAlign; }
  // Whole norm blocks; what lies behind the elements is read past the end of a run, and is zero.
  int64_t source_elements() const {
    return (groups * source_group + kNormBlock - 1) / kNormBlock * kNormBlock + 4 * kNormBlock;
  }
};

Shape forward_shape(const conv::Problem& problem);
Shape grad_weight_shape(const conv::Problem& problem);

// Steps of 8-bit numbers, q - zero: of index i of axis 0 the value times inverse[i * step], in low[i * step] and high.
struct Steps {
  const double *inverse = nullptr, *low = nullptr, *high = nullptr;
  int64_t step = 0;
};

// An operand as it comes: float32, to be rounded by factors or to steps, or mantissas.
struct Values {
  const void* data = nullptr;
  bool integer = false;
  conv::Strides strides;
  Steps steps{};
};

// x into the source. factors: of each image (or one for all, with factor_step 0); unused for mantissas.
void fill_source(const Shape& shape, const Values& x, const float (*factors)[2], int64_t factor_step,
                 const Kernels& kernels, int threads, int16_t* source);

// The other operand into the dense matrix, rows of column_row() elements.
void fill_weights(const Shape& shape, const Values& w, const conv::WeightView& view, const float (&factor)[2],
                  const Kernels& kernels, int threads, int16_t* dense);
void fill_gradient(const Shape& shape, const Values& grad, const float (&factor)[2], const Kernels& kernels,
                   int threads, int16_t* dense);

}  // namespace omniconv::dfp16
