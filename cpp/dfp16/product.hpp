// dfp16/product.hpp -- the integer product: weights in panels, blocks of rows over threads, results to their place
#pragma once

#include <cstddef>

#include "dfp16/certificate.hpp"

namespace omniconv::dfp16 {

// Memory laid out by counting first: with no base, take() only adds up.
class Arena {
 public:
  explicit Arena(char* base = nullptr) : base_(base) {}
  template <class T>
  T* take(int64_t count) {
    T* at = base_ ? reinterpret_cast<T*>(base_ + used_) : nullptr;
    used_ += (size_t(count) * sizeof(T) + 63) / 64 * 64;
    return at;
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

// How weights are laid out for the kernels: pairs of panels of two vectors; the same of high and low digits; tiles; as
// the dense matrix is.
enum class Form { pairs, digits, tiles, lines };

int64_t panel_columns(Form form, const Kernels& kernels);
int64_t packed_elements(const Shape& shape, Form form, const Kernels& kernels);  // int16
int64_t pack_room(const Shape& shape, Form form, const Kernels& kernels);        // int16 of scratch per worker
void pack(const Shape& shape, Form form, const int16_t* dense, const Kernels& kernels, int threads, int16_t* room,
          int16_t* packed);

// Where sums go: int64 as they are, or float32 with scales and the epilogue of the other convolutions.
struct Destination {
  void* data = nullptr;
  bool integer = false;
  int64_t grid[4] = {0, 0, 0, 0}, column = 0, group = 0;  // steps in elements
  const double* row_scale = nullptr;                      // [grid[0]] with row_scale_step 1; one with 0
  int64_t row_scale_step = 0;
  const double* column_scale = nullptr;  // [groups * columns], or null
  const float *bias = nullptr, *scale = nullptr, *residual = nullptr;
  int64_t residual_grid[4] = {0, 0, 0, 0}, residual_column = 0, residual_group = 0;
  Activation activation = Activation::none;
  float negative_slope = 0;
  int32_t* largest = nullptr;  // of each worker: raised to the bits of the largest magnitude written
};

struct ProductArgs {
  const Shape& shape;
  Form form;
  const int16_t* source;
  const int16_t* packed;
  const Segment* segments;
  int64_t segment_count;
  bool spill;
  const Destination& to;
  const Kernels& kernels;
  const TileKernels* tiles;
  int threads;
  char* room;  // product_room() for every worker
};

size_t product_room(const Shape& shape, Form form, const Kernels& kernels);
void multiply(const ProductArgs& args);

// Of one channel and one column in a group; of the forward kind, of at most 2^23 terms.
size_t lines_room(const Shape& shape);
void multiply_lines(const ProductArgs& args);

}  // namespace omniconv::dfp16
