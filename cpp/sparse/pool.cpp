// sparse/pool.cpp -- pooling over the sites that a window holds
//
// Bound by memory: a row is read for each pair and written once. Plain loops over channels are as fast as that.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/thread_pool.hpp"
#include "sparse/operands.hpp"

namespace omniconv {
namespace sparse {
namespace {

void check(const SparseMap& map, const TensorView& x, const TensorView& y, const char* y_name) {
  if (x.ndim != 2)
    throw Error(Code::invalid_argument, "features have " + std::to_string(x.ndim) + " axes; expected are 2");
  require_shape(x, "features", {map.in()->rows(), x.shape[1]});
  require_shape(y, y_name, {map.out()->rows(), x.shape[1]});
  if (x.dtype != DType::float32) throw Error(Code::type_error, "features have dtype float64; pooling supports float32");
  require_dtype(y, y_name, x.dtype);
}

void require_rows(const TensorView& y) {
  if (y.strides[1] != 1 && y.shape[1] > 1) throw Error(Code::invalid_argument, "out must have adjacent channels");
}

// body(pair, tap) for the pairs of a tile, taps ascending.
template <class Body>
void each_pair(const SparseMap& map, const SparseMap::Tile& tile, Body&& body) {
  for (int64_t tap = 0; tap < map.taps(); ++tap)
    for (int32_t p = tile.begin[size_t(tap)]; p < tile.begin[size_t(tap) + 1]; ++p) body(tile.pairs[size_t(p)], tap);
}

// The rows of outputs of a tile as sums or maxima. `taps` [sites, channels], where given, gets the tap of the maximum.
void pool_tile(const SparseMap& map, int64_t index, bool max, const Rows& x, int64_t channels, float* y, int64_t y_step,
               int32_t* degree, int32_t* taps) {
  each_pair(map, map.tiles()[size_t(index)], [&](SparseMap::Pair pair, int64_t tap) {
    const int64_t row = map.out_row(index, pair.out);
    const float* from = x.data() + pair.in * x.step();
    float* to = y + row * y_step;
    int32_t* of = taps ? taps + row * channels : nullptr;
    if (degree[pair.out]++ == 0) {
      std::memcpy(to, from, size_t(channels) * sizeof(float));
      if (of) std::fill_n(of, channels, int32_t(tap));
    } else if (!max) {
      for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
    } else if (!of) {
      for (int64_t c = 0; c < channels; ++c) to[c] = to[c] >= from[c] || to[c] != to[c] ? to[c] : from[c];
    } else {
      for (int64_t c = 0; c < channels; ++c)
        if (!(to[c] >= from[c]) && to[c] == to[c]) to[c] = from[c], of[c] = int32_t(tap);
    }
  });
}

void pool_rows(const SparseMap& map, SparsePool pool, const Rows& x, int64_t channels, float* y, int64_t y_step,
               int32_t* taps, float* weights) {
  parallel_for(int64_t(map.tiles().size()), [&](int64_t index, int) {
    int32_t degree[SparseMap::kTile] = {};
    pool_tile(map, index, pool == SparsePool::max, x, channels, y, y_step, degree, taps);
    const int64_t sites = std::min(SparseMap::kTile, map.out()->rows() - index * SparseMap::kTile);
    for (int32_t i = 0; i < sites; ++i) {
      const int64_t row = map.out_row(index, i);
      float* to = y + row * y_step;
      const float weight = 1.0f / float(std::max(1, degree[i]));
      if (degree[i] == 0) std::fill_n(to, channels, 0.0f);
      if (pool == SparsePool::mean)
        for (int64_t c = 0; c < channels; ++c) to[c] *= weight;
      if (weights) weights[row] = weight;
    }
  });
}

}  // namespace
}  // namespace sparse

void sparse_pool(const SparseMap& map, SparsePool pool, const TensorView& x, const TensorView& y) {
  sparse::check(map, x, y, "out");
  sparse::require_rows(y);
  const sparse::Rows rows(x);
  sparse::pool_rows(map, pool, rows, x.shape[1], static_cast<float*>(y.data), y.strides[0], nullptr, nullptr);
}

void sparse_pool_grad(const SparseMap& map, const SparseMap& adjoint, SparsePool pool, const TensorView& x,
                      const TensorView& g, const TensorView& dx) {
  using namespace sparse;
  check(map, x, g, "grad");
  check(adjoint, g, dx, "out");
  require_rows(dx);
  const Rows xs(x), gs(g);
  const int64_t channels = x.shape[1], step = dx.strides[0];
  std::vector<int32_t> taps;
  std::vector<float> pooled(size_t(g.shape[0] * channels)), weights(size_t(g.shape[0]));
  if (pool == SparsePool::max) taps.resize(size_t(g.shape[0] * channels));
  if (pool != SparsePool::sum)
    pool_rows(map, pool, xs, channels, pooled.data(), channels, taps.empty() ? nullptr : taps.data(), weights.data());
  float* to_rows = static_cast<float*>(dx.data);
  parallel_for(int64_t(adjoint.tiles().size()), [&](int64_t index, int) {
    const int64_t sites = std::min(SparseMap::kTile, dx.shape[0] - index * SparseMap::kTile);
    for (int32_t i = 0; i < sites; ++i) std::fill_n(to_rows + adjoint.out_row(index, i) * step, channels, 0.0f);
    each_pair(adjoint, adjoint.tiles()[size_t(index)], [&](SparseMap::Pair pair, int64_t tap) {
      const float* from = gs.data() + pair.in * gs.step();
      float* to = to_rows + adjoint.out_row(index, pair.out) * step;
      const int32_t* of = taps.empty() ? nullptr : taps.data() + pair.in * channels;
      const float weight = pool == SparsePool::mean ? weights[size_t(pair.in)] : 1.0f;
      for (int64_t c = 0; c < channels; ++c)
        if (!of || of[c] == tap) to[c] += weight * from[c];
    });
  });
}

}  // namespace omniconv
