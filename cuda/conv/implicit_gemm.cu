// conv/implicit_gemm.cu -- float32 convolution as a matrix product of pixels and channels that is never written out
#include "conv/implicit_gemm.cuh"
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

template <class Shape, bool kLong>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kResident) forward(Arguments<float> a) {
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

template <class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kResident)
    grad_weight(Arguments<float> a, Parts cut, float* parts) {
  const TilePlace place = tile_place<Shape>(a.p.co, a.p.groups);
  const int64_t first = int64_t(blockIdx.y) * cut.pixels, left = a.p.pixels() - first;
  const int end = int(first + (left < cut.pixels ? left : cut.pixels));
  const TermRows rows(a, place.row + Shape::fetch_row(), place.group, end);
  const GradColumns columns(a, place.column + Shape::fetch_column(), place.group, end);
  float sums[Shape::kTileRows][Shape::kTileColumns];
  sum_tile<Shape, true>(Shifted{rows, int(first)}, Shifted{columns, int(first)}, end - int(first), sums);
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

template <class Shape>
void run_forward(const DeviceCall& call) {
  const Problem& p = *call.problem;
  const prim::Grid grid{unsigned(tile_count<Shape>(p.pixels(), p.co, p.groups)), 1, 1};
  prim::launch(p.k() > kBlock ? forward<Shape, true> : forward<Shape, false>, grid, Shape::kThreads, 0, call.stream,
               Arguments<float>(call));
}

template <class Shape>
Parts parts_of(const Problem& p) {
  return cut_pixels(p, tile_count<Shape>(p.k(), p.co, p.groups));
}

Parts parts_of(const Problem& p) { return is_wide(p.co) ? parts_of<WideTile>(p) : parts_of<NarrowTile>(p); }

template <class Shape>
void run_grad_weight(const DeviceCall& call) {
  const Problem& p = *call.problem;
  const Parts cut = parts_of<Shape>(p);
  const prim::Grid grid{unsigned(tile_count<Shape>(p.k(), p.co, p.groups)), unsigned(cut.count), 1};
  prim::launch(grad_weight<Shape>, grid, Shape::kThreads, 0, call.stream, Arguments<float>(call), cut,
               static_cast<float*>(call.workspace));
  add_parts(call, cut);
}

void decline(const DeviceAsk* ask, DeviceMessage* message) {
  if (ask->float64) return say(message, "float64 runs on the reference alone");
  decline_many_tiles<NarrowTile>(ask, message);
}

size_t workspace(const DeviceAsk* ask) {
  const Problem& p = *ask->problem;
  return ask->grad_weight ? parts_bytes(p, parts_of(p)) : 0;
}

// Not measured: a guess of 40 Tflop/s, and what a launch takes; of tiles that are partly empty all counts.
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
