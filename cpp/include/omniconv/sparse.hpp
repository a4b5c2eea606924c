// omniconv/sparse.hpp -- convolution over the occupied sites of a grid: describe, map, run
//
// A sparse tensor is a list of sites (batch, x_1 .. x_D), D = 1..4, and a row of features for each. Convolution of it
// is the dense convolution with the same padding, restricted to the output's sites. What depends on the sites alone is
// found once: a SparseMap holds which rows meet under which tap. Results depend neither on the number of threads nor on
// the order of the rows nor on what else is in the batch.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "omniconv/export.hpp"
#include "omniconv/options.hpp"
#include "omniconv/tensor.hpp"

namespace omniconv {

inline constexpr int kMaxSparseDims = 4;

// The rows of a coordinate list in lexicographic order. Sites are told apart by exact packed keys: the spans of all
// columns together have to fit 64 bits, else Error(not_supported).
class OMNICONV_API SparseSites {
 public:
  // coords: dense [rows, 1 + dims], the batch first; copied. Negative coordinates are fine, a negative batch is not.
  SparseSites(const int32_t* coords, int64_t rows, int dims);

  int dims() const { return dims_; }
  int64_t rows() const { return int64_t(order_.size()); }
  int64_t distinct() const { return int64_t(starts_.size()) - 1; }
  const std::vector<int32_t>& coords() const { return coords_; }
  // Of each column; 0 where there are no rows.
  const std::array<int32_t, 1 + kMaxSparseDims>& lowest() const { return lowest_; }
  const std::array<int32_t, 1 + kMaxSparseDims>& highest() const { return highest_; }
  const std::vector<int32_t>& order() const { return order_; }    // rows by site; equal ones as they came
  const std::vector<int64_t>& starts() const { return starts_; }  // where each distinct site begins in order()

 private:
  int dims_;
  std::array<int32_t, 1 + kMaxSparseDims> lowest_{}, highest_{};
  std::vector<int32_t> coords_, order_;
  std::vector<int64_t> starts_;
};

using SharedSites = std::shared_ptr<const SparseSites>;

// Per axis. Tap t of output o reads the input i = stride * o + dilation * t - padding.
struct SparseWindow {
  std::array<int64_t, kMaxSparseDims> kernel{1, 1, 1, 1}, stride{1, 1, 1, 1}, padding{}, dilation{1, 1, 1, 1};
};

// Output sites outside [low, high) of an axis are left out.
struct SparseBounds {
  std::array<int64_t, kMaxSparseDims> low, high;
};

// All sites that the window reaches from `in`, in lexicographic order. `transposed`: those of the transposed
// convolution, stride * i + dilation * t - padding.
OMNICONV_API SharedSites reached_sites(const SparseSites& in, const SparseWindow& window, bool transposed,
                                       const SparseBounds* bounds = nullptr);

// Which row of the input meets which row of the output under which tap, taps row-major over the kernel's axes.
class OMNICONV_API SparseMap {
 public:
  static constexpr int64_t kTile = 512;  // output sites, in lexicographic order
  struct Pair {
    int32_t in, out;  // row of the input; output site within its tile
  };
  struct Tile {
    std::vector<int32_t> begin;  // per tap, and the end
    std::vector<Pair> pairs;
  };

  // Neither list may hold a site twice.
  SparseMap(SharedSites in, SharedSites out, const SparseWindow& window);

  // Input and output exchanged, taps as they are: the map of the transposed and of the inverse convolution, and of the
  // gradient of the input.
  SparseMap adjoint() const;

  const SharedSites& in() const { return in_; }
  const SharedSites& out() const { return out_; }
  int64_t taps() const { return taps_; }
  int64_t pairs() const;
  std::vector<int64_t> tap_pairs() const;
  const std::vector<Tile>& tiles() const { return tiles_; }
  // Row of the output of a site of a tile.
  int32_t out_row(int64_t tile, int32_t site) const { return out_->order()[size_t(tile * kTile + site)]; }

 private:
  SparseMap() = default;
  SharedSites in_, out_;
  int64_t taps_ = 0;
  std::vector<Tile> tiles_;
};

// y = activation(scale * sums + bias + residual); undefined views are left out. bias and scale: [channels], residual as
// y.
struct SparseEpilogue {
  TensorView bias, scale, residual;
  Activation activation = Activation::none;
  float negative_slope = 0.01f;
};

// x [rows of in, Ci], weight [Co, Ci / groups, taps] in any strides, y [rows of out, Co]; all float32 or all float64.
OMNICONV_API void sparse_convolve(const SparseMap& map, const TensorView& x, const TensorView& weight, int64_t groups,
                                  const SparseEpilogue& epilogue, const TensorView& y);

// dw [Co, Ci / groups, taps] in any strides: the gradient of sum(y * g) for g [rows of out, Co].
// That of x is sparse_convolve by map.adjoint(), with the weight's first two axes exchanged within each group.
OMNICONV_API void sparse_grad_weight(const SparseMap& map, const TensorView& x, const TensorView& g, int64_t groups,
                                     const TensorView& dw);

// y[o] = the largest, or the sum, or the mean, over the input sites that output o meets; 0 where it meets none.
// float32.
enum class SparsePool { max, sum, mean };
OMNICONV_API void sparse_pool(const SparseMap& map, SparsePool pool, const TensorView& x, const TensorView& y);

// dx, the gradient of sum(y * g) by x. That of a maximum goes to the first tap that has it; `x` is read for max alone.
OMNICONV_API void sparse_pool_grad(const SparseMap& map, const SparseMap& adjoint, SparsePool pool, const TensorView& x,
                                   const TensorView& g, const TensorView& dx);

// A matrix in CSR: row i has the columns indices[begin[i]] to indices[begin[i + 1] - 1], and element e is
// row_scale[i] * values[e] * column_scale[indices[e]], where what is null is 1.
struct CsrView {
  const int64_t* begin = nullptr;
  const int32_t* indices = nullptr;
  const float *values = nullptr, *row_scale = nullptr, *column_scale = nullptr;
  int64_t rows = 0, columns = 0, entries = 0;
};

// y = activation(matrix x + bias), float32; each sum in the order of the entries. bias [width] may be undefined.
OMNICONV_API void spmm(const CsrView& matrix, const TensorView& x, const TensorView& bias, Activation activation,
                       float negative_slope, const TensorView& y);

}  // namespace omniconv
