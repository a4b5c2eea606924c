// conv/implicit_gemm.cu -- float32 convolution as a matrix product of pixels and channels that is never written out
#include "conv/implicit_gemm.cuh"
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

template <class Shape, bool kLong>
__global__ void __launch_bounds__(Shape::kThreads) forward(Arguments<float> a) {
  const TilePlace place = tile_place<Shape>(a.p.co, a.p.groups);
  const PixelRows rows(a, place.row + Shape::fetch_row(), place.group);
  const WeightColumns columns(a, place.column + Shape::fetch_column(), place.group);
  float sums[Shape::kTileRows][Shape::kTileColumns];
  sum_tile<Shape, kLong>(rows, columns, int(a.p.k()), sums);
#pragma unroll
  for (int i = 0; i < Shape::kTileRows; ++i) {
    const int m = place.row + Shape::row(i);
    if (m >= int(a.p.pixels())) continue;
    const Pixel at = pixel_of(a, m);
#pragma unroll
    for (int j = 0; j < Shape::kTileColumns; ++j) {
      const int co = place.column + Shape::column(j);
      if (co < int(a.p.co)) finish(a, at, place.group * a.p.co + co, sums[i][j]);
    }
  }
}

// The pixels are cut into parts of a length that follows from the problem alone; each part's sums go to `parts`
// [part][group][term][channel], and are added in order of the parts.
struct Parts {
  int64_t count, pixels;  // of each part but the last, a multiple of kBlock
};

// Enough blocks for a large GPU some four times over, and no part shorter than the sums of two blocks.
constexpr int64_t kBlocksWished = 512, kMostParts = 64;

Parts parts_of(const Problem& p) {
  const int64_t tiles =
      is_wide(p.co) ? tile_count<WideTile>(p.k(), p.co, p.groups) : tile_count<NarrowTile>(p.k(), p.co, p.groups);
  const int64_t wished = (kBlocksWished + tiles - 1) / tiles;
  const int64_t blocks = (p.pixels() + kBlock - 1) / kBlock;
  const int64_t most = wished < kMostParts ? wished : kMostParts;
  const int64_t each = blocks <= 2 ? 2 : (blocks + most - 1) / most < 2 ? 2 : (blocks + most - 1) / most;
  const int64_t count = (blocks + each - 1) / each;
  return {count > 0 ? count : 1, each * kBlock};
}

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads) grad_weight(Arguments<float> a, Parts cut, float* parts) {
  const TilePlace place = tile_place<Shape>(a.p.co, a.p.groups);
  const int64_t first = int64_t(blockIdx.y) * cut.pixels, left = a.p.pixels() - first;
  const int end = int(first + (left < cut.pixels ? left : cut.pixels));
  const TermRows rows(a, place.row + Shape::fetch_row(), place.group, end);
  const GradColumns columns(a, place.column + Shape::fetch_column(), place.group, end);
  float sums[Shape::kTileRows][Shape::kTileColumns];
  // k counts from the first pixel of the part on.
  struct ShiftedRows {
    const TermRows& rows;
    int first;
    __device__ void fetch(int k, float (&values)[Shape::kRowFetch]) const { rows.fetch(first + k, values); }
  } const shifted_rows{rows, int(first)};
  struct ShiftedColumns {
    const GradColumns& columns;
    int first;
    __device__ void fetch(int k, float (&values)[Shape::kColumnFetch]) const { columns.fetch(first + k, values); }
  } const shifted_columns{columns, int(first)};
  sum_tile<Shape, true>(shifted_rows, shifted_columns, end - int(first), sums);
#pragma unroll
  for (int i = 0; i < Shape::kTileRows; ++i) {
    const int k = place.row + Shape::row(i);
#pragma unroll
    for (int j = 0; j < Shape::kTileColumns; ++j) {
      const int co = place.column + Shape::column(j);
      if (k < int(a.p.k()) && co < int(a.p.co))
        parts[((blockIdx.y * a.p.groups + place.group) * a.p.k() + k) * a.p.co + co] = sums[i][j];
    }
  }
}

constexpr int kThreads = 128;

__global__ void add_parts(Arguments<float> a, const float* parts, int count, float* out, WeightView view) {
  const int64_t each = a.p.groups * a.p.k() * a.p.co, i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= each) return;
  double sum = 0;
  for (int part = 0; part < count; ++part) sum += double(parts[part * each + i]);
  const int64_t co = i % a.p.co, g = i / a.p.co / a.p.k();
  const Term term = term_of(a, int(i / a.p.co % a.p.k()));
  int64_t to = view.offset + g * view.group + co * view.co + term.c * view.ci;
  for (int axis = 0; axis < kAxes; ++axis) to += term.tap[axis] * view.tap[axis];
  out[to] = float(sum);
}

template <class Shape>
void run_forward(const DeviceCall& call) {
  const Problem& p = *call.problem;
  const prim::Grid grid{unsigned(tile_count<Shape>(p.pixels(), p.co, p.groups)), 1, 1};
  prim::launch(p.k() > kBlock ? forward<Shape, true> : forward<Shape, false>, grid, Shape::kThreads, 0, call.stream,
               Arguments<float>(call));
}

template <class Shape>
void run_grad_weight(const DeviceCall& call) {
  const Problem& p = *call.problem;
  const Parts cut = parts_of(p);
  auto* parts = static_cast<float*>(call.workspace);
  const Arguments<float> a(call);
  const prim::Grid grid{unsigned(tile_count<Shape>(p.k(), p.co, p.groups)), unsigned(cut.count), 1};
  prim::launch(grad_weight<Shape>, grid, Shape::kThreads, 0, call.stream, a, cut, parts);
  prim::launch(add_parts, blocks_for(p.groups * p.k() * p.co, kThreads), kThreads, 0, call.stream, a, parts,
               int(cut.count), static_cast<float*>(call.weight), call.view);
}

void decline(const DeviceAsk* ask, DeviceMessage* message) {
  const Problem& p = *ask->problem;
  if (ask->float64) return say(message, "float64 runs on the reference alone");
  decline_large(p, message);
  if (tile_count<NarrowTile>(ask->grad_weight ? p.k() : p.pixels(), p.co, p.groups) >= int64_t{1} << 30)
    say(message, "has more than 2^30 tiles");
}

size_t workspace(const DeviceAsk* ask) {
  const Problem& p = *ask->problem;
  return ask->grad_weight ? size_t(parts_of(p).count * p.groups * p.k() * p.co) * sizeof(float) : 0;
}

// Some 40 Tflop/s on full tiles, and what a launch takes; of tiles that are partly empty all counts.
double cost(const DeviceAsk* ask) {
  const Problem& p = *ask->problem;
  const int64_t rows = ask->grad_weight ? p.k() : p.pixels(), terms = ask->grad_weight ? p.pixels() : p.k();
  const double tiles = is_wide(p.co) ? double(tile_count<WideTile>(rows, p.co, p.groups)) * 128 * 128
                                     : double(tile_count<NarrowTile>(rows, p.co, p.groups)) * 128 * 32;
  return 5e-6 + 2 * tiles * double(terms) / 40e12;
}

}  // namespace

const DeviceAlgorithm kImplicitGemm = {
    "implicit_gemm",
    "tiles of pixels and channels in float32, windows gathered on the way into shared memory",
    decline,
    workspace,
    packed_bytes,
    cost,
    pack_weights,
    [](const DeviceCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        is_wide(call->problem->co) ? run_forward<WideTile>(*call) : run_forward<NarrowTile>(*call);
      });
    },
    [](const DeviceCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        is_wide(call->problem->co) ? run_grad_weight<WideTile>(*call) : run_grad_weight<NarrowTile>(*call);
      });
    },
};

}  // namespace omniconv::cuda
