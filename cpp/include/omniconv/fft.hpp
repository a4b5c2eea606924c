// omniconv/fft.hpp -- long convolutions of rows: describe, plan, transform the kernel once, run
//
// True convolutions, one kernel per channel: with v = pre_gate * u and full[t] = sum_j k[j] v[t - j], t from 0 to
// L + K - 2, and where there is a reverse kernel + sum_j r[j] v[t + j],
//   y = post_gate * activation(conv + skip * v + bias)
//   causal   conv[t] = full[t]           L outputs        same   conv[t] = full[t + K / 2]       L outputs
//   circular indices modulo L            L outputs        valid  conv[t] = full[t + K - 1]       L - K + 1 outputs
//                                                         full   conv[t] = full[t]               L + K - 1 outputs
// k[0] multiplies the current sample: the kernel of a cross-correlation (conv.hpp) is this one reversed.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "omniconv/conv.hpp"

namespace omniconv {

enum class FftMode { causal, circular, same, full, valid };

OMNICONV_API FftMode parse_fft_mode(std::string_view text);

// What a plan depends on. Numbers of rows do not belong to it: one plan serves any batch and any channels.
struct FftConvDesc {
  DType dtype = DType::float32;
  FftMode mode = FftMode::causal;
  int64_t length = 0;        // L
  int64_t taps = 0;          // K
  int64_t reverse_taps = 0;  // of the reverse kernel; 0: there is none
  // "direct": sums of products, for up to 1024 taps. "fft": one transform per row. "overlap_save": transforms of a
  // size that fits a cache, whatever L. "reference".
  std::string algorithm = "auto";
  // Rows go down to one sample in 2^halvings and up again by half-band filters that let pass what lies below `keep`
  // times the highest frequency. Of mode causal, algorithm "fft", without a step back; taps and reverse_taps are then
  // both fft_lower_rate_length(), lag i of the kernels i samples of the lower rate.
  int halvings = 0;
  double keep = 1;
};

// Halvings that take the least time for kernels without the frequencies above `keep` times the highest; 0 where none
// saves any.
OMNICONV_API int fft_halvings(DType dtype, int64_t length, double keep);

// Samples of a row at the lower rate: those of u and what the filters reach beyond both ends.
OMNICONV_API int64_t fft_lower_rate_length(DType dtype, int64_t length, double keep, int halvings);

// Outputs per row. Throws Error naming the argument when the description makes no sense.
OMNICONV_API int64_t fft_conv_output_length(const FftConvDesc& desc);

// Every algorithm, the one `auto` takes first.
OMNICONV_API std::vector<AlgorithmInfo> fft_conv_algorithms(const FftConvDesc& desc);

enum class FftDirection {
  forward,
  adjoint,  // takes gradients of conv to gradients of v
};

// Arrays of one run. `out` has the shape of y: [B, H, Lout], or [B, C, H, Lout] for kernels [C, H, K].
struct FftConvOperands {
  TensorView u{};  // [B, H, L]
  TensorView out{};
  TensorView pre_gate{};   // as u; undefined views are left out
  TensorView post_gate{};  // as out
  TensorView skip{};       // [H] or [C, H]; needs as many outputs as inputs
  TensorView bias{};       // [H] or [C, H]
  Activation activation = Activation::none;
  double negative_slope = 0.01;
  // A second result, post_gate2 * (conv + skip * v + bias), without the activation: what a step back wants to find.
  TensorView out2{}, post_gate2{};
};

// The step back of one call. Undefined results are not wanted; shapes are those of the operands of the same name.
struct FftConvBackward {
  TensorView k{}, k_reverse{};  // the kernels: [H, K], [C, H, K] or [B, H, K]
  TensorView u{}, pre_gate{}, post_gate{}, skip{}, bias{};
  TensorView grad{};  // of y
  TensorView sums{};  // s in y = post_gate * activation(s), as `out2` of run() keeps it; undefined: computed again
  Activation activation = Activation::none;
  double negative_slope = 0.01;
  bool per_sample = false;
  TensorView du{}, dpre_gate{};  // with kernels [C, H, K] those of every kernel by itself, [B, C, H, L]
  TensorView dpost_gate{}, dskip{}, dbias{}, dk{}, dk_reverse{};
};

class FftConvPlan;

// Transformed kernels. Immutable; belongs to the plan that made it.
class OMNICONV_API FftSpectrum {
 public:
  ~FftSpectrum();
  FftSpectrum(FftSpectrum&&) noexcept;
  FftSpectrum& operator=(FftSpectrum&&) noexcept;
  const std::vector<int64_t>& rows() const;  // shape of the kernels without their last axis
  FftDirection direction() const;
  bool per_sample() const;
  size_t bytes() const;

 private:
  friend class FftConvPlan;
  struct Impl;
  explicit FftSpectrum(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Immutable; `run` is re-entrant, so one plan may serve many threads.
class OMNICONV_API FftConvPlan {
 public:
  explicit FftConvPlan(const FftConvDesc& desc);
  ~FftConvPlan();
  FftConvPlan(FftConvPlan&&) noexcept;
  FftConvPlan& operator=(FftConvPlan&&) noexcept;

  // k: [H, K], [C, H, K], or where `per_sample` [B, H, K]; reverse: the same with reverse_taps, undefined without.
  FftSpectrum transform(const TensorView& k, const TensorView& reverse = {}, bool per_sample = false,
                        FftDirection direction = FftDirection::forward) const;

  // With a spectrum of direction adjoint `u` are gradients [B, H, Lout] or [B, C, H, Lout], `out` has L elements per
  // row and as many rows as `u`. Allocates from the calling thread's arena; see the other form for none at all.
  void run(const FftSpectrum& spectrum, const FftConvOperands& operands) const;
  // `workspace`: at least workspace_bytes() bytes, aligned to 64, or workspace_bytes(true) where elements of rows are
  // not adjacent in some array. Allocates nothing.
  void run(const FftSpectrum& spectrum, const FftConvOperands& operands, void* workspace, size_t bytes) const;

  // All gradients at once, which share transforms. `spectrum`, if any, is that of o.k: it saves making it.
  // Sums over samples and elements have a fixed order; those of skip and bias are float64.
  void backward(const FftConvBackward& operands, const FftSpectrum* spectrum = nullptr) const;

  // Gradients of the kernels, `dk` and, where there is one, `dreverse`, from those of conv (`grad`, shaped like y):
  // sums over samples in a fixed order. Either may be undefined.
  void kernel_gradient(const TensorView& u, const TensorView& pre_gate, const TensorView& grad, const TensorView& dk,
                       const TensorView& dreverse, bool per_sample = false) const;

  const FftConvDesc& desc() const;
  int64_t output_length() const;
  const std::string& algorithm() const;                // the one that runs
  int64_t transform_length() const;                    // real elements of one transform; 0: none
  size_t workspace_bytes(bool strided = false) const;  // with the current number of threads
  std::string explain() const;                         // a few lines for people

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

// The step back through y = post_gate * activation(s). On entry `s` holds the values before the activation, on
// return the gradient of s; `post_gate` and each of the results may be undefined. v = pre_gate * u is needed for dskip.
struct FftEpilogueGradient {
  TensorView s{};     // shaped like y, dense along rows
  TensorView grad{};  // gradient of y
  TensorView post_gate{}, dpost_gate{};
  TensorView u{}, pre_gate{}, dskip{}, dbias{};  // dskip and dbias [H] or [C, H], summed in float64 in a fixed order
  Activation activation = Activation::none;
  double negative_slope = 0.01;
};
OMNICONV_API void fft_conv_epilogue_gradient(const FftEpilogueGradient& operands);

}  // namespace omniconv
