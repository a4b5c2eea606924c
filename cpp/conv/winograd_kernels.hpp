// conv/winograd_kernels.hpp -- the list of Winograd tiles, and what an ISA provides for each
//
// One list drives the transforms that are compiled, the algorithms, the tests and the bench.
#pragma once

#include <cstdint>

namespace omniconv::conv {

// F(m_h x m_w, r_h x r_w): tiles of m outputs per axis under kernels of r taps.
struct WinogradVariant {
  int m_h, r_h, m_w, r_w;
  // Relative L2 error on normal data with 128 channels, sums cut every 16 (kWinogradSumBlock), measured and rounded up;
  // a quarter more with 512. Cut every 512, as `high` does, it is twice as large. tests/conv/test_winograd.cpp holds
  // the tiles that `highest` takes to the error of plain summation.
  double error;
  constexpr int n_h() const { return m_h + r_h - 1; }
  constexpr int n_w() const { return m_w + r_w - 1; }
  constexpr int frequencies() const { return n_h() * n_w(); }
};

inline constexpr WinogradVariant kWinogradVariants[] = {
    {2, 3, 2, 3, 1.9e-7}, {2, 3, 4, 3, 3.2e-7}, {4, 3, 4, 3, 5.7e-7}, {6, 3, 6, 3, 2.2e-6}, {3, 4, 3, 4, 6.2e-7},
    {5, 4, 5, 4, 2.2e-6}, {2, 5, 2, 5, 6.2e-7}, {4, 5, 4, 5, 2.3e-6}, {2, 7, 2, 7, 2.7e-6}, {1, 1, 2, 3, 1.4e-7},
    {1, 1, 4, 3, 2.4e-7}, {1, 1, 6, 3, 5.0e-7}, {1, 1, 2, 5, 2.5e-7}, {1, 1, 4, 5, 5.0e-7},
};
inline constexpr int kWinogradCount = sizeof(kWinogradVariants) / sizeof(kWinogradVariants[0]);

// v[frequency][tile] = B^T x B for `tiles` tiles of one row, all channels: strides in floats.
struct WinogradInputArgs {
  const float* x;
  int64_t x_row, x_column, x_tile;
  float* v;
  int64_t v_frequency, v_tile;
  int64_t tiles, channels;
};

// y = A^T c A of `tiles` tiles of one row, a panel of `lanes` channels: y [row][column][lanes], cut to rows x columns.
struct WinogradOutputArgs {
  const float* c;
  int64_t c_frequency;  // floats; tiles are `lanes` apart
  float* y;
  int64_t lanes, tiles, rows, columns;
};

// u[frequency][k][lanes] = G w G^T of a packed panel, k over (phase w, kd, phase h, ci): kernel tap s * a + phase is
// tap a of that phase, and zero where the kernel has no such tap.
struct WinogradWeightArgs {
  const float* panel;  // [kw][kd][kh][ci][lanes]
  int64_t lanes, ci, taps_d, taps_h, taps_w, stride_h, stride_w;
  float* u;
};

struct WinogradKernels {
  void (*input)(const WinogradInputArgs&);
  void (*output)(const WinogradOutputArgs&);
  void (*weights)(const WinogradWeightArgs&);
};

}  // namespace omniconv::conv
