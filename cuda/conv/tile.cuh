// conv/tile.cuh -- sums of one tile of a matrix product in float32: operands through shared memory, sums in registers
//
// c[i][j] = sum over k of a[k][i] b[k][j] for kRows x kColumns of c, by kRows / kTileRows * kColumns / kTileColumns
// threads. A step takes 8 values of k: each thread fetches its part of both operands into registers while the sums of
// the step before run, then stores it to the buffer that nobody reads; so one barrier a step is enough.
//
// Every sum has one order, whatever the tile: k rises, one fused multiply-add each, and after every kBlock terms
// the block's sum is added to the total and starts again from zero. This keeps the error of long sums that of short
// ones.
#pragma once

#include "prim/prim.cuh"

namespace omniconv::cuda {

constexpr int kStep = 8;
constexpr int kBlock = 512;  // terms; a multiple of kStep

template <int kRows_, int kColumns_, int kTileRows_, int kTileColumns_>
struct Tile {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kTileRows = kTileRows_, kTileColumns = kTileColumns_;
  static constexpr int kThreads = kRows / kTileRows * (kColumns / kTileColumns);
  // Blocks per multiprocessor that registers must allow: left to itself, ptxas spills in the narrow tile for a fourth.
  static constexpr int kResident = kThreads > 128 ? 1 : 2;
  // What a thread fetches for a step: so many values of k for one row, so many adjacent columns for one k.
  static constexpr int kRowFetch = kStep * kRows / kThreads, kColumnFetch = kStep * kColumns / kThreads;

  // The row or column of element i of a thread's part: groups of four, the second half a tile apart.
  __device__ static int row(int i) {
    return i / 4 * (kRows * 4 / kTileRows) + int(threadIdx.x) % (kRows / kTileRows) * 4 + i % 4;
  }
  __device__ static int column(int j) {
    return j / 4 * (kColumns * 4 / kTileColumns) + int(threadIdx.x) / (kRows / kTileRows) * 4 + j % 4;
  }
  // The row, and the first k in a step, that a thread fetches; likewise for the columns.
  __device__ static int fetch_row() { return int(threadIdx.x) % kRows; }
  __device__ static int fetch_row_k() { return int(threadIdx.x) / kRows * kRowFetch; }
  __device__ static int fetch_column() { return int(threadIdx.x) % (kColumns / kColumnFetch) * kColumnFetch; }
  __device__ static int fetch_column_k() { return int(threadIdx.x) / (kColumns / kColumnFetch); }
};

// How operands get to shared memory: into one buffer between two barriers; into a second while the first is read; or,
// as said above, also fetched into registers before the sums and stored after them.
enum class Staging { single, buffered, prefetched };

// rows.fetch(k, values): kRowFetch values a[k ...][fetch_row()]; columns.fetch(k, values): kColumnFetch values
// b[k][fetch_column() ...]. Both give zeros past the end. kLong: more than kBlock terms.
template <class Shape, bool kLong, Staging kStaging = Staging::prefetched, class Rows, class Columns>
__device__ inline void sum_tile(const Rows& rows, const Columns& columns, int terms,
                                float (&sums)[Shape::kTileRows][Shape::kTileColumns]) {
  constexpr int kBuffers = kStaging == Staging::single ? 1 : 2;
  OMNICONV_SHARED(float, a, kBuffers * kStep * Shape::kRows);
  OMNICONV_SHARED(float, b, kBuffers * kStep * Shape::kColumns);
  float block[Shape::kTileRows][Shape::kTileColumns];
  float row_values[Shape::kRowFetch], column_values[Shape::kColumnFetch];
  const auto clear = [&](float (&s)[Shape::kTileRows][Shape::kTileColumns]) {
#pragma unroll
    for (int i = 0; i < Shape::kTileRows; ++i)
#pragma unroll
      for (int j = 0; j < Shape::kTileColumns; ++j) s[i][j] = 0;
  };
  const auto fetch = [&](int k) {
    rows.fetch(k + Shape::fetch_row_k(), row_values);
    columns.fetch(k + Shape::fetch_column_k(), column_values);
  };
  const auto store = [&](int buffer) {
#pragma unroll
    for (int i = 0; i < Shape::kRowFetch; ++i)
      a((buffer * kStep + Shape::fetch_row_k() + i) * Shape::kRows + Shape::fetch_row()) = row_values[i];
    const int at = (buffer * kStep + Shape::fetch_column_k()) * Shape::kColumns + Shape::fetch_column();
#pragma unroll
    for (int j = 0; j < Shape::kColumnFetch; ++j) b(at + j) = column_values[j];
  };
  if constexpr (kLong) clear(sums);
  clear(block);
  fetch(0);
  store(0);
  __syncthreads();
  const int steps = (terms + kStep - 1) / kStep;
  for (int step = 0; step < steps; ++step) {
    const bool more = step + 1 < steps;
    const int buffer = step % kBuffers;
    if (kStaging != Staging::single && more) fetch((step + 1) * kStep);
    if (kStaging == Staging::buffered && more) store(1 - buffer);
#pragma unroll
    for (int k = 0; k < kStep; ++k) {
      float4 x[Shape::kTileRows / 4], y[Shape::kTileColumns / 4];
#pragma unroll
      for (int i = 0; i < Shape::kTileRows / 4; ++i)
        x[i] = a.load4((buffer * kStep + k) * Shape::kRows + Shape::row(i * 4));
#pragma unroll
      for (int j = 0; j < Shape::kTileColumns / 4; ++j)
        y[j] = b.load4((buffer * kStep + k) * Shape::kColumns + Shape::column(j * 4));
#pragma unroll
      for (int i = 0; i < Shape::kTileRows; ++i)
#pragma unroll
        for (int j = 0; j < Shape::kTileColumns; ++j)
          block[i][j] = fmaf(prim::component(x[i / 4], i % 4), prim::component(y[j / 4], j % 4), block[i][j]);
    }
    if (kStaging == Staging::prefetched && more) store(1 - buffer);
    if constexpr (kLong) {
      if ((step + 1) % (kBlock / kStep) == 0) {
#pragma unroll
        for (int i = 0; i < Shape::kTileRows; ++i)
#pragma unroll
          for (int j = 0; j < Shape::kTileColumns; ++j) sums[i][j] += block[i][j];
        clear(block);
      }
    }
    __syncthreads();
    if (kStaging == Staging::single && more) {
      fetch((step + 1) * kStep);
      store(0);
      __syncthreads();
    }
  }
#pragma unroll
  for (int i = 0; i < Shape::kTileRows; ++i)
#pragma unroll
    for (int j = 0; j < Shape::kTileColumns; ++j)
      if constexpr (kLong)
        sums[i][j] += block[i][j];
      else
        sums[i][j] = block[i][j];
}

// Wide for many channels; narrow where a wide tile would be mostly empty.
using WideTile = Tile<128, 128, 8, 8>;
using NarrowTile = Tile<128, 32, 8, 4>;
inline bool is_wide(int64_t columns) { return columns > 48; }

}  // namespace omniconv::cuda
