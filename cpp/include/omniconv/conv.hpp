// omniconv/conv.hpp -- dense convolution: describe, plan, run
//
// All convolutions here are cross-correlations, as in PyTorch and JAX:
//   y[n, co, o] = activation(scale[co] * sum_{ci, k} w[co, ci, k] x[n, ci, o * stride + k * dilation - pad_lo]
//                            + bias[co] + residual[n, co, o])
// with x [N, Ci, *spatial], w [Co, Ci / groups, *kernel] and 1 to 3 spatial axes. A tensor's layout is what
// its strides say: NCHW, NHWC and anything in between are accepted as they are.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "omniconv/options.hpp"
#include "omniconv/tensor.hpp"

namespace omniconv {

OMNICONV_API PaddingMode parse_padding_mode(std::string_view text);
OMNICONV_API Activation parse_activation(std::string_view text);
OMNICONV_API Precision parse_precision(std::string_view text);

enum class ConvOp {
  forward,      // (x, w) -> y
  grad_input,   // (grad of y, w) -> grad of x; also the transposed convolution
  grad_weight,  // (grad of y, x) -> grad of w
};

// Everything a plan depends on. Shapes are those of the forward convolution, whatever the op.
struct ConvDesc {
  ConvOp op = ConvOp::forward;
  DType dtype = DType::float32;
  int spatial = 2;                 // number of spatial axes, 1 to 3
  std::vector<int64_t> x_shape{};  // [N, Ci, *spatial]
  std::vector<int64_t> w_shape{};  // [Co, Ci / groups, *kernel]
  std::array<int64_t, 3> stride{1, 1, 1};
  std::array<int64_t, 3> dilation{1, 1, 1};
  std::array<int64_t, 3> pad_lo{0, 0, 0};
  std::array<int64_t, 3> pad_hi{0, 0, 0};
  // Elements of x past the last window: 0 but for a transposed convolution's output_padding.
  std::array<int64_t, 3> output_padding{0, 0, 0};
  int64_t groups = 1;
  PaddingMode padding_mode = PaddingMode::zeros;
  Activation activation = Activation::none;
  double negative_slope = 0.01;  // of leaky_relu
  Precision precision = Precision::highest;
  bool channels_last = false;  // the layout the caller expects to pass; a hint, not a promise
  std::string algorithm = "auto";
  Device device{};              // where the arrays are
  bool weights_change = false;  // weights come with every run: what packing them costs counts in the choice of "auto"
  // Bytes of scratch memory that an algorithm may take, -1: any. What "auto" takes then depends on batch and threads.
  int64_t workspace_limit = -1;

  // Sets dtype, device, spatial and shapes to those of arrays, and channels_last where x says so.
  OMNICONV_API ConvDesc& take_shapes(const TensorView& x, const TensorView& w);
};

// [N, Co, *out]. Throws Error naming the argument when the description makes no sense.
OMNICONV_API std::vector<int64_t> conv_output_shape(const ConvDesc& desc);

// What an algorithm says about a problem.
struct AlgorithmInfo {
  std::string name;
  bool usable = false;
  std::string reason;          // why not, when not usable
  size_t workspace_bytes = 0;  // with the current number of threads
  double cost = 0;             // predicted seconds; for comparing algorithms, not a forecast
  double measured = 0;         // seconds, where tune() has measured them; 0: it has not
};

// Every algorithm, the one `auto` takes first.
OMNICONV_API std::vector<AlgorithmInfo> algorithms(const ConvDesc& desc);

// Times of one image by algorithm and layout, of the problem that `key` describes.
struct MeasuredTime {
  std::string algorithm;
  bool channels_last;
  double seconds;
};
struct TunedProblem {
  std::string key;
  std::vector<MeasuredTime> times;
};

// Measures every algorithm on numbers of its own, in both layouts, for about so many seconds, with the current number
// of threads. From then on "auto" takes the fastest for this problem, whatever the batch, the layout and the threads;
// plans that exist stay what they are. float32 on the CPU. Returns what algorithms() now says.
OMNICONV_API std::vector<AlgorithmInfo> tune(const ConvDesc& desc, double seconds = 0.3);

// All that was measured, and what takes it up again in another process. Problems that are known already are replaced.
OMNICONV_API std::vector<TunedProblem> tuned_problems();
OMNICONV_API void add_tuned_problems(const std::vector<TunedProblem>& problems);
OMNICONV_API void clear_tuned_problems();

// The operands of one run. Which ones are read depends on the op:
//   forward      a = x,         b = w (ignored when the plan has packed weights), out = y
//   grad_input   a = grad of y, b = w (likewise),                                  out = grad of x
//   grad_weight  a = grad of y, b = x,                                             out = grad of w
// bias and scale are [channels of out], residual has the shape of out; undefined views are left out.
// All lie on the plan's device. On a CUDA device a run is put into `stream`, a cudaStream_t (null: the legacy default
// stream), and comes back before it is done.
struct ConvOperands {
  TensorView a{}, b{}, out{}, bias{}, scale{}, residual{};
  void* stream = nullptr;
};

// In one call: a plan for these operands and weights that change, run once. dtype, spatial and the shapes of `desc` are
// taken from them. Making the plan costs some 30 microseconds; that and packing the weights is what a
// plan of your own saves.
OMNICONV_API void convolve(ConvDesc desc, const ConvOperands& operands);

// db[co] = sum of grad [N, Co, *out] over everything but channels, in float64. `out` is [Co].
OMNICONV_API void conv_grad_bias(const TensorView& grad, const TensorView& out, void* stream = nullptr);

// Immutable once made; `run` is re-entrant, so one plan may serve many threads.
class OMNICONV_API ConvPlan {
 public:
  explicit ConvPlan(const ConvDesc& desc);
  ~ConvPlan();
  ConvPlan(ConvPlan&&) noexcept;
  ConvPlan& operator=(ConvPlan&&) noexcept;

  // Packs the weights once; later runs need no `b`. On a CUDA device after what is in `stream`; waits.
  void pack(const TensorView& weight, void* stream = nullptr);

  // The same algorithm for another number of images; packed weights are shared. CPU, any precision but dfp16.
  ConvPlan for_batch(int64_t images) const;

  // Allocates from the calling thread's arena, on a CUDA device in the order of the stream; see the other form for none
  // at all.
  void run(const ConvOperands& operands) const;
  // `workspace`: at least workspace_bytes() bytes on the plan's device, aligned to 64. With packed weights nothing is
  // allocated; a CUDA graph can capture the run.
  void run(const ConvOperands& operands, void* workspace, size_t bytes) const;

  const ConvDesc& desc() const;
  std::vector<int64_t> output_shape() const;
  const std::string& algorithm() const;  // the one that runs
  size_t workspace_bytes() const;        // with the current number of threads
  size_t packed_bytes() const;           // memory that pack() keeps
  double flops() const;                  // 2 per multiply-add
  std::string explain() const;           // a few lines for people

 private:
  struct Impl;
  explicit ConvPlan(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace omniconv
