// emu/test_mutants.cpp -- mistakes planted in kernels: each has to be reported, under every schedule
#include <gtest/gtest.h>

#include <vector>

#include "prim/prim.cuh"

// A thread that made a mistake is left for good, and with it what its locals own.
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions() {
  return "leak:omniconv::emu\nleak:emu/emu.cpp";
}

namespace {

namespace emu = omniconv::emu;
namespace prim = omniconv::prim;

enum class Mistake {
  none,
  no_barrier_after_copy,
  no_wait,
  wait_for_too_few,
  no_barrier_before_overwrite,
  barrier_in_a_branch,
  early_return,
  two_barriers,
  read_past_the_end,
  write_before_the_start,
  never_written,
  warp_instead_of_block,
  shuffle_in_a_branch,
  shuffle_outside_of_the_mask,
  copy_onto_what_is_read,
  misaligned,
  too_much_dynamic,
};

// y[t] = sum over tiles of x[tile][(t + 1) % 64]: fetched by cp.async in turn into one buffer, read by the neighbour.
template <Mistake kMistake>
__global__ void neighbours(const float* x, float* y, int tiles) {
  constexpr auto is = [](Mistake m) { return m == kMistake; };
  OMNICONV_SHARED(float, buffer, 64 + 4);
  const int t = int(threadIdx.x);
  if (is(Mistake::early_return) && t == 5) return;
  float sum = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    if (!is(Mistake::never_written) || t != 9)
      prim::copy_async<4>(buffer, is(Mistake::write_before_the_start) ? t - 1 : t, x + tile * 64 + t, true);
    prim::copy_commit();
    if (is(Mistake::wait_for_too_few))
      prim::copy_wait<1>();
    else if (!is(Mistake::no_wait))
      prim::copy_wait<0>();
    if (is(Mistake::two_barriers)) {
      if (t < 32)
        __syncthreads();
      else
        __syncthreads();
    } else if (is(Mistake::warp_instead_of_block)) {
      __syncwarp();
    } else if (!is(Mistake::no_barrier_after_copy)) {
      __syncthreads();
    }
    sum += buffer(is(Mistake::read_past_the_end) && t == 63 ? 68 : (t + 1) % 64);
    if (is(Mistake::copy_onto_what_is_read)) {
      prim::copy_async<4>(buffer, t, x + t, true);
      prim::copy_commit();
    }
    if (is(Mistake::misaligned)) sum += buffer.load4(t % 4).x;
    if (!is(Mistake::no_barrier_before_overwrite)) __syncthreads();
    if (is(Mistake::barrier_in_a_branch) && t < 33) __syncthreads();
  }
  if (is(Mistake::shuffle_in_a_branch) && t % 32 < 16) sum += prim::shuffle(sum, 0);
  if (is(Mistake::shuffle_outside_of_the_mask)) sum += prim::shuffle(sum, 0, 0xffff0000u);
  if (is(Mistake::too_much_dynamic)) sum += float(prim::dynamic_shared<float>(64, 9).first);
  y[t] = sum;
}

template <Mistake kMistake>
std::string report(const char* schedule, std::vector<float>* y = nullptr) {
  emu::set_schedule(emu::parse_schedule(schedule));
  std::vector<float> x(3 * 64), own(64);
  for (size_t i = 0; i < x.size(); ++i) x[i] = float(i);
  try {
    prim::launch(neighbours<kMistake>, {1}, 64, 96, nullptr, x.data(), (y ? *y : own).data(), 3);
  } catch (const emu::Fault& fault) {
    return fault.what();
  }
  return "";
}

const char* const kSchedules[] = {"lock-step", "run-ahead", "random:3", "random:4"};

template <Mistake kMistake>
void expect(const char* words) {
  for (const char* schedule : kSchedules) {
    const std::string said = report<kMistake>(schedule);
    EXPECT_NE(said.find(words), std::string::npos) << schedule << " said '" << said << "'";
    EXPECT_NE(said.find("test_mutants.cpp:"), std::string::npos) << said;  // the line of the kernel
  }
}

TEST(Mutants, TheOriginalIsFine) {
  for (const char* schedule : kSchedules) {
    std::vector<float> y(64);
    EXPECT_EQ(report<Mistake::none>(schedule, &y), "");
    for (int t = 0; t < 64; ++t) EXPECT_EQ(y[t], 3 * ((t + 1) % 64) + 192);
  }
}

TEST(Mutants, MissingBarrierAfterCopy) { expect<Mistake::no_barrier_after_copy>("in shared memory"); }
TEST(Mutants, MissingWait) { expect<Mistake::no_wait>("has not landed"); }
TEST(Mutants, WaitForTooFewGroups) { expect<Mistake::wait_for_too_few>("has not landed"); }
TEST(Mutants, WriteAfterReadRace) { expect<Mistake::no_barrier_before_overwrite>("in shared memory"); }
TEST(Mutants, CopyOntoWhatOthersRead) { expect<Mistake::copy_onto_what_is_read>("in shared memory"); }
TEST(Mutants, BarrierInABranch) { expect<Mistake::barrier_in_a_branch>("divergent barrier"); }
TEST(Mutants, TwoBarriersAreNotOne) { expect<Mistake::two_barriers>("divergent barrier"); }
TEST(Mutants, ReturnBeforeABarrier) { expect<Mistake::early_return>("divergent barrier"); }
TEST(Mutants, ReadPastTheEnd) { expect<Mistake::read_past_the_end>("out of bounds: a read of element 68 of 68"); }
TEST(Mutants, WriteBeforeTheStart) { expect<Mistake::write_before_the_start>("out of bounds: a write of element -1"); }
TEST(Mutants, NeverWritten) { expect<Mistake::never_written>("in shared memory"); }
TEST(Mutants, WarpBarrierForABlock) { expect<Mistake::warp_instead_of_block>("in shared memory"); }
TEST(Mutants, ShuffleInABranch) { expect<Mistake::shuffle_in_a_branch>("divergent"); }
TEST(Mutants, ShuffleOutsideOfTheMask) { expect<Mistake::shuffle_outside_of_the_mask>("outside of the mask"); }
TEST(Mutants, Misaligned) { expect<Mistake::misaligned>("misaligned"); }
TEST(Mutants, MoreDynamicMemoryThanGiven) { expect<Mistake::too_much_dynamic>("dynamic shared memory"); }

// ---- fragments
// -------------------------------------------------------------------------------------------------------

enum class Slip { none, a_column, b_row, c_row, half, no_transpose };

// c = a b of one mma, from and to plain matrices of small integers; every element of a fragment is placed by hand.
template <prim::Product kProduct, Slip kSlip>
__global__ void one_product(const float* a, const float* b, float* c) {
  constexpr int kDepth = kProduct == prim::Product::tf32 ? 8 : 16;
  const int g = prim::lane() / 4, m = prim::lane() % 4;
  uint32_t fa[4], fb[2];
  float fc[4] = {};
  const auto as = [](float v) { return kProduct == prim::Product::half ? prim::to_half(v) : prim::to_bf16(v); };
  for (int r = 0; r < 4; ++r) {
    const int row = g + 8 * (r % 2);
    if constexpr (kProduct == prim::Product::tf32) {
      fa[r] = prim::to_tf32(a[row * kDepth + (kSlip == Slip::a_column ? (m + 1) % 4 : m) + 4 * (r / 2)]);
    } else {
      const int column = 2 * (kSlip == Slip::a_column ? (m + 1) % 4 : m) + 8 * (r / 2);
      const float low = a[row * kDepth + column], high = a[row * kDepth + column + 1];
      fa[r] = kSlip == Slip::half ? prim::pack2(as(high), as(low)) : prim::pack2(as(low), as(high));
    }
  }
  for (int r = 0; r < 2; ++r) {
    if constexpr (kProduct == prim::Product::tf32) {
      fb[r] = prim::to_tf32(b[(m + 4 * (kSlip == Slip::b_row ? 1 - r : r)) * 8 + g]);
    } else {
      const int row = 2 * m + 8 * (kSlip == Slip::b_row ? 1 - r : r);
      fb[r] = prim::pack2(as(b[row * 8 + g]), as(b[(row + 1) * 8 + g]));
    }
  }
  prim::mma<kProduct>(fc, fa, fb);
  for (int r = 0; r < 4; ++r) c[(g + 8 * (kSlip == Slip::c_row ? 1 - r / 2 : r / 2)) * 8 + 2 * m + r % 2] = fc[r];
}

template <prim::Product kProduct, Slip kSlip>
bool right() {
  constexpr int kDepth = kProduct == prim::Product::tf32 ? 8 : 16;
  float a[16 * kDepth], b[kDepth * 8], c[16 * 8];
  for (int i = 0; i < 16 * kDepth; ++i) a[i] = float(i * 7 % 31 - 15);
  for (int i = 0; i < kDepth * 8; ++i) b[i] = float(i * 5 % 29 - 14);
  prim::launch(one_product<kProduct, kSlip>, {1}, 32, 0, nullptr, a, b, c);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) {
      float sum = 0;
      for (int k = 0; k < kDepth; ++k) sum += a[i * kDepth + k] * b[k * 8 + j];
      if (c[i * 8 + j] != sum) return false;
    }
  return true;
}

template <prim::Product kProduct>
void check_fragments() {
  EXPECT_TRUE((right<kProduct, Slip::none>()));
  EXPECT_FALSE((right<kProduct, Slip::a_column>()));
  EXPECT_FALSE((right<kProduct, Slip::b_row>()));
  EXPECT_FALSE((right<kProduct, Slip::c_row>()));
}

TEST(Fragments, Bf16) {
  check_fragments<prim::Product::bf16>();
  EXPECT_FALSE((right<prim::Product::bf16, Slip::half>()));
}
TEST(Fragments, Half) {
  check_fragments<prim::Product::half>();
  EXPECT_FALSE((right<prim::Product::half, Slip::half>()));
}
TEST(Fragments, Tf32) { check_fragments<prim::Product::tf32>(); }

// a from rows, b from columns-to-be: ldmatrix, the second transposed, gives the fragments that mma takes.
template <Slip kSlip>
__global__ void through_shared(const float* a, const float* b, float* c) {
  OMNICONV_SHARED(uint16_t, sa, 16 * 24);
  OMNICONV_SHARED(uint16_t, sb, 16 * 8);
  const int l = prim::lane();
  for (int i = l; i < 256; i += 32) sa(i / 16 * 24 + i % 16) = prim::to_bf16(a[i]);
  for (int i = l; i < 128; i += 32) sb(i) = prim::to_bf16(b[i]);
  __syncwarp();
  uint32_t fa[4], fb[2];
  float fc[4] = {};
  prim::load_matrices(fa, sa, (l % 16) * 24 + l / 16 * 8);
  prim::load_matrices<2, kSlip != Slip::no_transpose>(fb, sb, (l % 16) * 8);
  prim::mma<prim::Product::bf16>(fc, fa, fb);
  for (int r = 0; r < 4; ++r) c[(l / 4 + 8 * (r / 2)) * 8 + 2 * (l % 4) + r % 2] = fc[r];
}

template <Slip kSlip>
bool right_through_shared() {
  float a[256], b[128], c[128];
  for (int i = 0; i < 256; ++i) a[i] = float(i * 7 % 31 - 15);
  for (int i = 0; i < 128; ++i) b[i] = float(i * 5 % 29 - 14);
  prim::launch(through_shared<kSlip>, {1}, 32, 0, nullptr, a, b, c);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[i * 16 + k] * b[k * 8 + j];
      if (c[i * 8 + j] != sum) return false;
    }
  return true;
}

TEST(Fragments, Ldmatrix) {
  EXPECT_TRUE(right_through_shared<Slip::none>());
  EXPECT_FALSE(right_through_shared<Slip::no_transpose>());
}

}  // namespace
