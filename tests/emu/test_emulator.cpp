// emu/test_emulator.cpp -- what the emulator computes when the kernel is right, under every schedule
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "prim/prim.cuh"

namespace {

namespace emu = omniconv::emu;
namespace prim = omniconv::prim;

class Emulator : public testing::TestWithParam<const char*> {
 protected:
  Emulator() { emu::set_schedule(emu::parse_schedule(GetParam())); }
};
INSTANTIATE_TEST_SUITE_P(Schedules, Emulator, testing::Values("lock-step", "run-ahead", "random:1", "random:2"));

// Sums of blocks of 96 by a tree in shared memory.
__global__ void block_sums(const float* x, float* sums, int n) {
  OMNICONV_SHARED(float, partial, 96);
  const int t = int(threadIdx.x), i = int(blockIdx.x * 96 + threadIdx.x);
  partial(t) = i < n ? x[i] : 0.0f;
  for (int half = 48; half >= 3; half /= 2) {
    __syncthreads();
    if (t < half) partial(t) = partial(t) + partial(t + half);
  }
  __syncthreads();
  if (t == 0) sums[blockIdx.x] = partial(0) + partial(1) + partial(2);
}

TEST_P(Emulator, BlockSums) {
  std::vector<float> x(500);
  std::iota(x.begin(), x.end(), 1.0f);
  std::vector<float> sums(6, -1);
  prim::launch(block_sums, {6}, 96, 0, nullptr, x.data(), sums.data(), 500);
  for (int b = 0; b < 6; ++b) {
    float want = 0;
    for (int i = b * 96; i < std::min(500, b * 96 + 96); ++i) want += x[i];
    EXPECT_EQ(sums[b], want) << b;
  }
}

__global__ void warp_words(int* out) {
  const int t = int(threadIdx.x), l = prim::lane();
  int sum = t;
  for (int bits = 16; bits > 0; bits /= 2) sum += prim::shuffle_xor(sum, bits);
  const unsigned odd = prim::ballot(l % 2 == 1);
  const int up = prim::shuffle_up(t, 3), down = prim::shuffle_down(t, 3), third = prim::shuffle(t, 3);
  int half = 0;
  if (l < 16) half = prim::shuffle_xor(t, 1, 0xffffu);
  const bool any = prim::any(l == 7), every = prim::all(l == 7);
  int* to = out + t * 8;
  const int words[8] = {sum, int(odd), up, down, third, half, any, every};
  for (int i = 0; i < 8; ++i) to[i] = words[i];
}

TEST_P(Emulator, WarpOperations) {
  std::vector<int> out(64 * 8, -1);
  prim::launch(warp_words, {1}, 64, 0, nullptr, out.data());
  for (int t = 0; t < 64; ++t) {
    const int l = t % 32, w = t - l, *got = &out[t * 8];
    EXPECT_EQ(got[0], 32 * w + 496);
    EXPECT_EQ(unsigned(got[1]), 0xaaaaaaaau);
    EXPECT_EQ(got[2], l >= 3 ? t - 3 : t);
    EXPECT_EQ(got[3], l < 29 ? t + 3 : t);
    EXPECT_EQ(got[4], w + 3);
    EXPECT_EQ(got[5], l < 16 ? t ^ 1 : 0);
    EXPECT_EQ(got[6], 1);
    EXPECT_EQ(got[7], 0);
  }
}

__global__ void histogram(const int* x, int* counts, int n) {
  OMNICONV_SHARED(int, local, 8);
  if (threadIdx.x < 8) local(int(threadIdx.x)) = 0;
  __syncthreads();
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) prim::atomic_add(local, x[i], 1);
  __syncthreads();
  if (threadIdx.x < 8) prim::atomic_add(counts + threadIdx.x, local(int(threadIdx.x)));
}

TEST_P(Emulator, Atomics) {
  std::vector<int> x(300), counts(8), want(8);
  for (int i = 0; i < 300; ++i) ++want[x[i] = i * i % 8];
  prim::launch(histogram, {5}, 64, 0, nullptr, x.data(), counts.data(), 300);
  EXPECT_EQ(counts, want);
}

// A row of tiles through two buffers filled by cp.async, in dynamic shared memory.
__global__ void pipelined(const float* x, float* y, int tiles, int n) {
  const auto buffer = prim::dynamic_shared<float>(0, 2 * 128);
  const int t = int(threadIdx.x);
  const auto fetch = [&](int tile) {
    const int from = tile * 128 + t * 4;
    prim::copy_async<16>(buffer, tile % 2 * 128 + t * 4, x + (from < n ? from : 0), from < n);
    prim::copy_commit();
  };
  float sum = 0;
  fetch(0);
  for (int tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles) {
      fetch(tile + 1);
      prim::copy_wait<1>();
    } else {
      prim::copy_wait<0>();
    }
    __syncthreads();
    for (int i = 0; i < 4; ++i) sum += buffer(tile % 2 * 128 + (t + i * 32) % 128);
    __syncthreads();
  }
  y[t] = sum;
}

TEST_P(Emulator, CopiesLandAtTheirWait) {
  alignas(16) float x[384];
  float y[32];
  std::iota(x, x + 384, 1.0f);
  prim::launch(pipelined, {1}, 32, 1024, nullptr, x, y, 3, 320);
  for (int t = 0; t < 32; ++t) {
    float want = 0;
    for (int tile = 0; tile < 3; ++tile)
      for (int i = 0; i < 4; ++i) want += tile * 128 + t + i * 32 < 320 ? x[tile * 128 + t + i * 32] : 0;
    EXPECT_EQ(y[t], want) << t;
  }
}

__global__ void places(int* out) {
  const int at = int((blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x);
  out[at * int(blockDim.x) + int(threadIdx.x)] = at;
}

TEST_P(Emulator, Grids) {
  std::vector<int> out(2 * 3 * 4 * 5, -1);
  prim::launch(places, {2, 3, 4}, 5, 0, nullptr, out.data());
  for (int i = 0; i < int(out.size()); ++i) EXPECT_EQ(out[i], i / 5);
}

TEST(Numbers, AreRoundedAsHardwareDoes) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(prim::to_bf16(1.0f), 0x3f80);
  EXPECT_EQ(prim::from_bf16(prim::to_bf16(1.00390625f)), 1.0f);       // a tie goes to the even neighbour
  EXPECT_EQ(prim::from_bf16(prim::to_bf16(1.01171875f)), 1.015625f);  // upwards here
  EXPECT_EQ(prim::from_bf16(prim::to_bf16(inf)), inf);
  EXPECT_TRUE(std::isnan(prim::from_bf16(prim::to_bf16(std::nanf("")))));
  EXPECT_EQ(prim::from_half(prim::to_half(65504.0f)), 65504.0f);
  EXPECT_EQ(prim::from_half(prim::to_half(1e6f)), inf);
  EXPECT_EQ(prim::from_tf32(prim::to_tf32(1.00048828125f)), 1.0009765625f);  // a tie goes away from zero
  EXPECT_EQ(prim::from_tf32(prim::to_tf32(-1.00048828125f)), -1.0009765625f);
  EXPECT_EQ(prim::from_tf32(prim::to_tf32(-inf)), -inf);
}

TEST(Schedule, NamesAreChecked) {
  EXPECT_EQ(emu::parse_schedule("random:17").seed, 17u);
  EXPECT_THROW(emu::parse_schedule("random:"), std::invalid_argument);
  EXPECT_THROW(emu::parse_schedule("backwards"), std::invalid_argument);
}

TEST(Launch, SizesAreChecked) {
  int out;
  EXPECT_THROW(prim::launch(places, {1}, 1025, 0, nullptr, &out), emu::Fault);
  EXPECT_THROW(prim::launch(places, {0}, 1, 0, nullptr, &out), emu::Fault);
  EXPECT_THROW(prim::launch(places, {1, 70000}, 1, 0, nullptr, &out), emu::Fault);
}

}  // namespace
