// conv/algorithm.cpp -- the list of algorithms and the kernel table of the current ISA
#include "conv/algorithm.hpp"

#include "conv/blocks.hpp"
#include "omniconv/context.hpp"

namespace omniconv::conv {

const Algorithm* const kAlgorithms[] = {&kPointwise,   &kPlanar,      &kDepthwise,   &kGrouped,     &kIm2winSplit,
                                        &kDirect,      &kIm2win,      &kIm2winFull,  &kIm2col,      &kWinograd2x2,
                                        &kWinograd2x4, &kWinograd3x3, &kWinograd4x4, &kWinograd5x5, &kWinograd6x6,
                                        &kWinograd1x2, &kWinograd1x4, &kWinograd1x6, &kWinograd2x1, &kFft};
const int kAlgorithmCount = sizeof(kAlgorithms) / sizeof(kAlgorithms[0]);

const Kernels& kernels() {
  switch (current_isa()) {
#ifdef OMNICONV_WITH_AMX
    case Isa::amx: return amx::conv_kernels();
#endif
#ifdef OMNICONV_WITH_AVX512
    case Isa::avx512vnni:
    case Isa::avx512: return avx512::conv_kernels();
#endif
#ifdef OMNICONV_WITH_AVX2
    case Isa::avx2: return avx2::conv_kernels();
#endif
#ifdef OMNICONV_WITH_NEON
    case Isa::neon: return neon::conv_kernels();
#endif
    default: return scalar::conv_kernels();
  }
}

void pack_for(const Algorithm* a, bool panels, const Problem& p, const Kernels& kernels, const float* weight,
              const WeightView& view, float* packed) {
  float* const extra = packed + packed_floats_aligned(kernels, p);
  if (panels || !a || !a->pack_own) pack_weights(kernels, p, weight, view, packed);
  if (a && a->pack_extra) a->pack_extra(p, kernels, packed, extra);
  if (a && a->pack_own) a->pack_own(p, kernels, weight, view, extra);
}

double multiply_cycles(const Problem& p, Target target) {
  const Panels panels(p.co, target.kernels);
  const double lanes = double(panels.size(1));
  return 2.2 * p.pixels() * p.groups * lanes * p.k() / target.kernels.peak / target.threads;
}

double finish_cycles(const Problem& p, Target target) {
  return 0.6 * p.pixels() * double(p.groups * p.co) / target.threads;
}

}  // namespace omniconv::conv
