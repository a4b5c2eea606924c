// conv/winograd.hpp -- a Winograd tile on a problem, and the blocks it is cut into
#pragma once

#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"
#include "conv/im2win_rows.hpp"

namespace omniconv::conv {

inline constexpr int64_t kWinogradSumBlock = 16;
inline constexpr int64_t kWinogradFlagFloats = 16;  // one line before U: nonzero if a weight is unusual

// A variant on a problem.
struct Tiling {
  const Problem& p;
  const WinogradVariant& v;
  const WinogradKernels& kernels;
  Problem strips;  // what lies under an output: stride_h x stride_w inputs of every channel
  Problem tiles;   // its outputs are tiles
  int64_t k, k_stride;

  Tiling(const Problem& problem, const Kernels& k, int variant);
  int64_t frequencies() const { return v.frequencies(); }
  // Rows, and groups of s input columns, under so many tiles.
  int64_t rows_of(int64_t rows) const { return rows * v.m_h + v.r_h - 1; }
  int64_t groups_of(int64_t columns) const { return columns * v.m_w + v.r_w - 1; }
  int64_t frequency_stride(int64_t tiles) const {
    const int64_t floats = tiles * k_stride;
    return floats % 256 == 0 ? floats + 16 : floats;  // or the 36 stores of a tile would share a few sets of L1
  }
  int64_t sum_block() const { return p.precision == Precision::highest ? kWinogradSumBlock : kSumBlock; }
  double tile_count() const { return double(tiles.rows()) * double(tiles.axis[2].out); }
};

// Tiles to blocks. V of a block may be shared by all threads: where there are few blocks, each is transformed once,
// by all of them.
struct WinogradBlocks {
  Partition part;
  bool shared;
  WinogradBlocks(const Tiling& t, Target target);
  int64_t count() const { return part.row_blocks * part.column_blocks; }
};

size_t winograd_worker_bytes(const Tiling& t, Target target);
size_t winograd_workspace(const Tiling& t, Target target);
void run_winograd(const Run& run, const Tiling& t);

// Relative L2 error of `terms` normal terms in one float32 chain: 1.78e-8 sqrt(terms), measured for 16 to 4608.
double plain_error(int64_t terms);

inline constexpr int32_t kLargestUsual = (127 + 60) << 23;  // bits of 2^60
// Infinite, NaN, or of a magnitude beyond 2^60.
bool has_unusual(const float* values, int64_t count);

}  // namespace omniconv::conv
