// conv/tensor_cores.cu -- implicit GEMM whose products are those of tensor cores: bfloat16, or TF32 in three products
//
// A block of 8 warps computes 128 rows x 64 columns, a warp 32 x 32 of them as 2 x 4 fragments of 16 x 8: 32 sums a
// thread, and 2 + 4 fragments loaded for 8 products. Arrays stay float32: an operand is rounded on its way into shared
// memory.
//
// Three products of TF32 numbers: v = big + small, both TF32, has 21 bits; big big + big small + small big misses only
// small small, 2^-22 of the product. The small terms are added first.
#include "conv/implicit_gemm.cuh"
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

using prim::Product;

constexpr int kDepth = 16;  // of a step
struct MatrixTile {
  static constexpr int kRows = 128, kColumns = 64, kThreads = 256;
  static constexpr int kRowFetch = kDepth * kRows / kThreads, kColumnFetch = kDepth * kColumns / kThreads;
  __device__ static int fetch_row() { return int(threadIdx.x) % kRows; }
  __device__ static int fetch_row_k() { return int(threadIdx.x) / kRows * kRowFetch; }
  __device__ static int fetch_column() { return int(threadIdx.x) % (kColumns / kColumnFetch) * kColumnFetch; }
  __device__ static int fetch_column_k() { return int(threadIdx.x) / (kColumns / kColumnFetch); }
  // Place of this thread's warp in the tile, and of a sum in it: fragment (i, j), register r.
  __device__ static int warp_row() { return int(threadIdx.x) / 32 % 4 * 32; }
  __device__ static int warp_column() { return int(threadIdx.x) / 32 / 4 * 32; }
  __device__ static int row(int i, int r) { return warp_row() + i * 16 + prim::lane() / 4 + r / 2 * 8; }
  __device__ static int column(int j, int r) { return warp_column() + j * 8 + prim::lane() % 4 * 2 + r % 2; }
};
using Sums = float[2][4][4];

// Operands of one step in shared memory, k innermost for both. Rows are padded so that the eight rows of a matrix, or
// of a fragment, fall into different banks: 48 bytes apart, and 80.
template <Product kProduct>
struct Store;

template <>
struct Store<Product::bf16> {
  static constexpr int kPitch = kDepth + 8;
  prim::Shared<uint16_t> a, b;

  __device__ void put_row(int row, int k, float v) const { a(row * kPitch + k) = prim::to_bf16(v); }
  __device__ void put_column(int column, int k, float v) const { b(column * kPitch + k) = prim::to_bf16(v); }
  __device__ void multiply(Sums& sums) const {
    const int l = prim::lane();
    uint32_t fa[2][4], fb[4][2];
#pragma unroll
    for (int i = 0; i < 2; ++i)
      prim::load_matrices(fa[i], a, (MatrixTile::warp_row() + i * 16 + l % 16) * kPitch + l / 16 * 8);
#pragma unroll
    for (int j = 0; j < 4; ++j)
      prim::load_matrices(fb[j], b, (MatrixTile::warp_column() + j * 8 + l % 8) * kPitch + l / 8 % 2 * 8);
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) prim::mma<Product::bf16>(sums[i][j], fa[i], fb[j]);
  }
};

template <>
struct Store<Product::tf32> {
  static constexpr int kPitch = kDepth + 4;
  prim::Shared<float> a, b;

  __device__ void put_row(int row, int k, float v) const { a(row * kPitch + k) = v; }
  __device__ void put_column(int column, int k, float v) const { b(column * kPitch + k) = v; }
  // The numbers themselves are in shared memory: splitting them costs less than reading twice as many.
  __device__ static void split(float v, uint32_t* big, uint32_t* small) {
    *big = prim::to_tf32(v);
    *small = prim::to_tf32(v - prim::from_tf32(*big));
  }
  __device__ void multiply(Sums& sums) const {
    const int g = prim::lane() / 4, m = prim::lane() % 4;
#pragma unroll
    for (int half = 0; half < kDepth; half += 8) {
      uint32_t big_a[2][4], small_a[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int row = MatrixTile::warp_row() + i * 16 + g + r % 2 * 8;
          split(a(row * kPitch + half + m + r / 2 * 4), &big_a[i][r], &small_a[i][r]);
        }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        uint32_t big_b[2], small_b[2];
#pragma unroll
        for (int r = 0; r < 2; ++r)
          split(b((MatrixTile::warp_column() + j * 8 + g) * kPitch + half + m + r * 4), &big_b[r], &small_b[r]);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          prim::mma<Product::tf32>(sums[i][j], small_a[i], big_b);
          prim::mma<Product::tf32>(sums[i][j], big_a[i], small_b);
          prim::mma<Product::tf32>(sums[i][j], big_a[i], big_b);
        }
      }
    }
  }
};

template <Product kProduct, class Rows, class Columns>
__device__ inline void sum_products(const Rows& rows, const Columns& columns, int terms, Sums& sums) {
  using Tile = MatrixTile;
  using Number = std::conditional_t<kProduct == Product::bf16, uint16_t, float>;
  OMNICONV_SHARED(Number, a, Tile::kRows * Store<kProduct>::kPitch);
  OMNICONV_SHARED(Number, b, Tile::kColumns * Store<kProduct>::kPitch);
  const Store<kProduct> store{a, b};
  float row_values[Tile::kRowFetch], column_values[Tile::kColumnFetch];
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int r = 0; r < 4; ++r) sums[i][j][r] = 0;
  rows.fetch(Tile::fetch_row_k(), row_values);
  columns.fetch(Tile::fetch_column_k(), column_values);
  for (int k = 0; k < terms; k += kDepth) {
#pragma unroll
    for (int i = 0; i < Tile::kRowFetch; ++i) store.put_row(Tile::fetch_row(), Tile::fetch_row_k() + i, row_values[i]);
#pragma unroll
    for (int j = 0; j < Tile::kColumnFetch; ++j)
      store.put_column(Tile::fetch_column() + j, Tile::fetch_column_k(), column_values[j]);
    __syncthreads();
    if (k + kDepth < terms) {  // the next step's operands are under way while this one's are multiplied
      rows.fetch(k + kDepth + Tile::fetch_row_k(), row_values);
      columns.fetch(k + kDepth + Tile::fetch_column_k(), column_values);
    }
    store.multiply(sums);
    __syncthreads();
  }
}

template <Product kProduct>
__global__ void __launch_bounds__(MatrixTile::kThreads) forward(Arguments<float> a) {
  const TilePlace place = tile_place<MatrixTile>(a.p.co, a.p.groups);
  const PixelRows rows(a, place.row + MatrixTile::fetch_row(), place.group);
  const WeightColumns columns(a, place.column + MatrixTile::fetch_column(), place.group);
  Sums sums;
  sum_products<kProduct>(rows, columns, int(a.p.k()), sums);
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int m = place.row + MatrixTile::row(i, half * 2);
      if (m >= int(a.p.pixels())) continue;
      const Pixel at = pixel_of(a, m);
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int r = half * 2; r < half * 2 + 2; ++r) {
          const int co = place.column + MatrixTile::column(j, r);
          if (co < int(a.p.co)) finish(a, at, place.group * a.p.co + co, sums[i][j][r]);
        }
    }
}

template <Product kProduct>
__global__ void __launch_bounds__(MatrixTile::kThreads) grad_weight(Arguments<float> a, Parts cut, float* parts) {
  const TilePlace place = tile_place<MatrixTile>(a.p.co, a.p.groups);
  const int64_t first = int64_t(blockIdx.y) * cut.pixels, left = a.p.pixels() - first;
  const int end = int(first + (left < cut.pixels ? left : cut.pixels));
  const TermRows rows(a, place.row + MatrixTile::fetch_row(), place.group, end);
  const GradColumns columns(a, place.column + MatrixTile::fetch_column(), place.group, end);
  Sums sums;
  sum_products<kProduct>(Shifted{rows, int(first)}, Shifted{columns, int(first)}, end - int(first), sums);
#pragma unroll
  for (int i = 0; i < 2; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int k = place.row + MatrixTile::row(i, r), co = place.column + MatrixTile::column(j, r);
        if (k < int(a.p.k()) && co < int(a.p.co))
          parts[((blockIdx.y * a.p.groups + place.group) * a.p.k() + k) * a.p.co + co] = sums[i][j][r];
      }
}

Parts parts_of(const Problem& p) { return cut_pixels(p, tile_count<MatrixTile>(p.k(), p.co, p.groups)); }

template <Product kProduct>
void run_forward(const DeviceCall& call) {
  const Problem& p = *call.problem;
  const prim::Grid grid{unsigned(tile_count<MatrixTile>(p.pixels(), p.co, p.groups)), 1, 1};
  prim::launch(forward<kProduct>, grid, MatrixTile::kThreads, 0, call.stream, Arguments<float>(call));
}

template <Product kProduct>
void run_grad_weight(const DeviceCall& call) {
  const Problem& p = *call.problem;
  const Parts cut = parts_of(p);
  const prim::Grid grid{unsigned(tile_count<MatrixTile>(p.k(), p.co, p.groups)), unsigned(cut.count), 1};
  prim::launch(grad_weight<kProduct>, grid, MatrixTile::kThreads, 0, call.stream, Arguments<float>(call), cut,
               static_cast<float*>(call.workspace));
  add_parts(call, cut);
}

void decline(const DeviceAsk* ask, DeviceMessage* message) {
  if (ask->float64) return say(message, "float64 runs on the reference alone");
  if (ask->problem->precision == Precision::highest)
    return say(message, "rounds operands to TF32 or bfloat16; precision 'highest' needs float32 products");
  decline_many_tiles<MatrixTile>(ask, message);
}

size_t workspace(const DeviceAsk* ask) {
  return ask->grad_weight ? parts_bytes(*ask->problem, parts_of(*ask->problem)) : 0;
}

// Not measured: a guess of 200 Tflop/s of bfloat16, and 80 for three products of TF32, on full tiles.
double cost(const DeviceAsk* ask) {
  const Problem& p = *ask->problem;
  const int64_t rows = ask->grad_weight ? p.k() : p.pixels(), terms = ask->grad_weight ? p.pixels() : p.k();
  const double flops = 2.0 * double(tile_count<MatrixTile>(rows, p.co, p.groups)) * 128 * 64 * double(terms);
  return 5e-6 + flops / (p.precision == Precision::medium ? 200e12 : 80e12);
}

// Runs body<bf16> for 'medium', body<tf32> for 'high'.
template <class Body>
int as_promised(const DeviceCall* call, DeviceMessage* message, Body&& body) {
  return prim::guarded(message, [&] {
    const prim::On device(call->device);
    if (call->problem->precision == Precision::medium)
      body(std::integral_constant<Product, Product::bf16>{});
    else
      body(std::integral_constant<Product, Product::tf32>{});
  });
}

}  // namespace

const DeviceAlgorithm kTensorCores = {
    "tensor_cores",
    "implicit GEMM with bfloat16 products, or three of TF32 for precision 'high'",
    decline,
    workspace,
    packed_bytes,
    cost,
    pack_weights,
    [](const DeviceCall* call, DeviceMessage* message) {
      return as_promised(call, message, [&](auto product) { run_forward<decltype(product)::value>(*call); });
    },
    [](const DeviceCall* call, DeviceMessage* message) {
      return as_promised(call, message, [&](auto product) { run_grad_weight<decltype(product)::value>(*call); });
    },
};

}  // namespace omniconv::cuda
