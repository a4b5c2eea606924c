// check/fragments.cu -- whether mma and ldmatrix place elements as prim/mma.cuh says: small integers, bit for bit
//
// A program for a GPU (bench/cuda_check.sh) and for the emulator; it ends with 0 where all is as said.
#include <cstdio>
#include <cstring>
#include <vector>

#include "prim/device.cuh"
#include "prim/prim.cuh"

namespace {

using namespace omniconv;
using prim::Product;

template <Product kProduct>
constexpr int kDepth = kProduct == Product::tf32 ? 8 : 16;

// a [16][depth], b [depth][8] -> c [16][8], fragments placed element by element as documented.
template <Product kProduct>
__global__ void by_hand(const float* a, const float* b, float* c) {
  constexpr int depth = kDepth<kProduct>;
  const int g = prim::lane() / 4, m = prim::lane() % 4;
  const auto as = [](float v) { return kProduct == Product::half ? prim::to_half(v) : prim::to_bf16(v); };
  uint32_t fa[4], fb[2];
  float fc[4] = {};
  for (int r = 0; r < 4; ++r) {
    const float* row = a + (g + 8 * (r % 2)) * depth;
    if constexpr (kProduct == Product::tf32)
      fa[r] = prim::to_tf32(row[m + 4 * (r / 2)]);
    else
      fa[r] = prim::pack2(as(row[2 * m + 8 * (r / 2)]), as(row[2 * m + 1 + 8 * (r / 2)]));
  }
  for (int r = 0; r < 2; ++r) {
    if constexpr (kProduct == Product::tf32)
      fb[r] = prim::to_tf32(b[(m + 4 * r) * 8 + g]);
    else
      fb[r] = prim::pack2(as(b[(2 * m + 8 * r) * 8 + g]), as(b[(2 * m + 1 + 8 * r) * 8 + g]));
  }
  prim::mma<kProduct>(fc, fa, fb);
  for (int r = 0; r < 4; ++r) c[(g + 8 * (r / 2)) * 8 + 2 * m + r % 2] = fc[r];
}

// The same in bfloat16, fragments by ldmatrix, b transposed on the way.
__global__ void by_ldmatrix(const float* a, const float* b, float* c) {
  OMNICONV_SHARED(uint16_t, sa, 16 * 24);
  OMNICONV_SHARED(uint16_t, sb, 16 * 8);
  const int l = prim::lane();
  for (int i = l; i < 256; i += 32) sa(i / 16 * 24 + i % 16) = prim::to_bf16(a[i]);
  for (int i = l; i < 128; i += 32) sb(i) = prim::to_bf16(b[i]);
  __syncwarp();
  uint32_t fa[4], fb[2];
  float fc[4] = {};
  prim::load_matrices(fa, sa, (l % 16) * 24 + l / 16 * 8);
  prim::load_matrices<2, true>(fb, sb, (l % 16) * 8);
  prim::mma<Product::bf16>(fc, fa, fb);
  for (int r = 0; r < 4; ++r) c[(l / 4 + 8 * (r / 2)) * 8 + 2 * (l % 4) + r % 2] = fc[r];
}

using Kernel = void (*)(const float*, const float*, float*);

bool check(const char* name, Kernel kernel, int depth) {
  std::vector<float> a(16 * depth), b(depth * 8), c(16 * 8, -1);
  for (size_t i = 0; i < a.size(); ++i) a[i] = float(int(i * 7 % 31) - 15);
  for (size_t i = 0; i < b.size(); ++i) b[i] = float(int(i * 5 % 29) - 14);
  const size_t bytes[] = {a.size() * 4, b.size() * 4, c.size() * 4};
  char* memory = static_cast<char*>(prim::allocate(nullptr, bytes[0] + bytes[1] + bytes[2]));
  auto *da = reinterpret_cast<float*>(memory), *db = da + a.size(), *dc = db + b.size();
  prim::copy(da, a.data(), bytes[0]);
  prim::copy(db, b.data(), bytes[1]);
  prim::launch(kernel, {1}, 32, 0, nullptr, da, db, dc);
  prim::copy(c.data(), dc, bytes[2]);
  prim::release(nullptr, memory);
  int wrong = 0;
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 8; ++j) {
      float sum = 0;
      for (int k = 0; k < depth; ++k) sum += a[i * depth + k] * b[k * 8 + j];
      wrong += c[i * 8 + j] != sum;
    }
  std::printf("%-10s %s\n", name, wrong ? "WRONG" : "right");
  return wrong == 0;
}

}  // namespace

int main() {
  DeviceMessage message;
  if (prim::device_count(&message) < 1) {
    std::printf("%s\n", message.text);
    return 2;
  }
  bool right = check("bf16", by_hand<Product::bf16>, 16);
  right &= check("half", by_hand<Product::half>, 16);
  right &= check("tf32", by_hand<Product::tf32>, 8);
  right &= check("ldmatrix", by_ldmatrix, 16);
  return right ? 0 : 1;
}
