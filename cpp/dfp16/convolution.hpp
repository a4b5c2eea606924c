// dfp16/convolution.hpp -- a convolution in integers: quantise, certify, multiply, one phase after the other
#pragma once

#include <string>
#include <vector>

#include "conv/operands.hpp"
#include "core/workspace.hpp"
#include "dfp16/product.hpp"

namespace omniconv::dfp16 {

// Operands of one run. Exponents belong to mantissas; float32 is quantised, a with an exponent for each image (for
// grad_weight, which sums over images, one), b with one.
struct Call {
  Values a, b;             // b is unused where weights are packed
  TensorView weight{};     // forward, grad_input: the array of b, for its strides
  TensorView grad{}, x{};  // arrays behind a (and b of grad_weight)
  const int32_t* a_exponents = nullptr;
  int64_t a_exponent_count = 1;
  const int32_t* b_exponents = nullptr;
  int64_t b_exponent_count = 1;
  conv::Operands memory;  // y and ys, residual, bias, scale, activation; x is not used
  void* out = nullptr;
  bool out_integer = false;
  Report* report = nullptr;
  // Where a has steps instead of exponents: what a step of it is worth, and one of b (packed so), for every channel or
  // for each of b_exponent_count of them.
  double a_scale = 0;
  const double* b_scales = nullptr;
};

// "pairs" runs everywhere; "lines" is for depthwise; "tiles" needs a matrix unit; "emulated_tiles" does the same
// without, slowly, for tests.
extern const char* const kAlgorithmNames[4];

// Why the named algorithm cannot run here; empty if it can.
std::string decline(const std::string& algorithm, const Options& options, const Kernels& kernels,
                    const conv::Problem& problem);

class Convolution {
 public:
  // Keeps references to both.
  Convolution(const ConvDesc& desc, const conv::Work& work, const Options& options);

  const char* algorithm() const;
  size_t workspace_bytes(int threads) const;
  size_t packed_bytes() const { return kept_.size(); }
  bool packed() const { return kept_.data() != nullptr; }

  void pack(const TensorView& weight, const Steps& steps = {});  // float32
  // Writes every output, those that no phase meets (stride larger than the window) as well.
  void run(const Call& call, char* workspace, int threads) const;

 private:
  struct Weights;
  struct Scratch;
  Scratch lay_out(Arena& arena, int threads) const;
  Weights keep(Arena& arena, const Shape& shape) const;
  void make_weights(size_t phase, const Values& w, const TensorView& view, const float (&factor)[2], Scratch& scratch,
                    int threads, Weights& weights) const;
  void write_empty(const Call& call, int threads) const;
  void run_phase(size_t phase, const Call& call, Scratch& scratch, const Weights& weights, bool ready, int threads,
                 Report& report) const;

  const ConvDesc& desc_;
  const conv::Work& work_;
  Options options_;
  const Kernels& kernels_;
  const TileKernels* tiles_ = nullptr;
  bool lines_ = false;
  std::vector<Shape> shapes_;
  AlignedBuffer kept_;
  std::vector<Norms> kept_norms_;
  int32_t kept_exponent_ = 0;
};

}  // namespace omniconv::dfp16
