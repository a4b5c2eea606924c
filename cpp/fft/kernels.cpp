// fft/kernels.cpp -- the kernel table of the ISA in force
#include "fft/kernels.hpp"

#include "omniconv/context.hpp"

namespace omniconv::fft {

const AllKernels& kernels() {
  switch (current_isa()) {
#ifdef OMNICONV_WITH_AVX512
    case Isa::amx:
    case Isa::avx512vnni:
    case Isa::avx512: return avx512::fft_kernels();
#endif
#ifdef OMNICONV_WITH_AVX2
    case Isa::avx2: return avx2::fft_kernels();
#endif
#ifdef OMNICONV_WITH_NEON
    case Isa::neon: return neon::fft_kernels();
#endif
    default: return scalar::fft_kernels();
  }
}

const AllKernels& kernels_of_width(int lanes) {
#ifdef OMNICONV_WITH_AVX512
  if (lanes == 16) return avx512::fft_kernels();
#endif
#ifdef OMNICONV_WITH_AVX2
  if (lanes == 8) return avx2::fft_kernels();
#endif
#ifdef OMNICONV_WITH_NEON
  return neon::fft_kernels();
#else
  return scalar::fft_kernels();
#endif
}

}  // namespace omniconv::fft
