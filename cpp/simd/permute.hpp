// simd/permute.hpp -- lanes of a vector in any order
#pragma once

#include "simd/vec.hpp"

namespace omniconv {
namespace OMNICONV_ISA_NS {

// Lane i is v[from[i]]. The maskz form is the same one instruction without the warning of the plain one: see min.
static OMNICONV_INLINE f32 permute(f32 v, i32 from) {
#if defined(__AVX512F__)
  return _mm512_maskz_permutexvar_ps(0xffff, reinterpret_cast<__m512i>(from), v);
#elif defined(OMNICONV_VEC_AVX2)
  return _mm256_permutevar8x32_ps(v, reinterpret_cast<__m256i>(from));
#else
  f32 to{};
  for (int i = 0; i < kWidth; ++i) to[i] = v[from[i]];
  return to;
#endif
}

}  // namespace OMNICONV_ISA_NS
}  // namespace omniconv
