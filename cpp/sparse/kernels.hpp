// sparse/kernels.hpp -- what an ISA provides to sparse convolution: plain functions on plain memory
#pragma once

#include <cstdint>

namespace omniconv::sparse {

inline constexpr int kMaxRows = 14;

// c_i[shift + j] += sum_k a_i[k] b[k, j] for `pairs` rows, j over the panel's lanes, k < count. One chain per call.
struct TileArgs {
  const float* const* a;
  float* const* c;
  int64_t pairs, shift;
  const float* b;
  int64_t count;
};

// c[i, j] += sum_p a_p[i] b_p[j], i < rows, j < lanes; c dense, c_row floats apart. One chain per call.
struct OuterArgs {
  const float* const* a;
  const float* const* b;
  int64_t pairs, a_shift, b_shift;
  float* c;
  int64_t c_row;
  int rows, lanes;
};

struct Kernels {
  int lanes;                          // floats per vector
  int rows;                           // of the largest outer tile
  void (*tile[3])(const TileArgs&);   // [vectors per panel], from 1
  void (*outer[3])(const OuterArgs&);  // likewise; only the last vector may be partial
};

const Kernels& kernels();  // of the current ISA

#define OMNICONV_SPARSE_ISA(isa)   \
  namespace isa {                  \
  const Kernels& sparse_kernels(); \
  }
OMNICONV_SPARSE_ISA(scalar)
OMNICONV_SPARSE_ISA(neon)
OMNICONV_SPARSE_ISA(avx2)
OMNICONV_SPARSE_ISA(avx512)
#undef OMNICONV_SPARSE_ISA

}  // namespace omniconv::sparse
