// conv/plan.cpp -- describe, plan, run: checks, choice of algorithm, packed weights, one run
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"
#include "conv/device_plan.hpp"
#include "conv/operands.hpp"
#include "conv/tuning.hpp"
#include "conv/work.hpp"
#include "core/device.hpp"
#include "core/thread_pool.hpp"
#include "core/workspace.hpp"
#include "dfp16/convolution.hpp"
#include "omniconv/conv.hpp"
#include "reference/conv.hpp"

namespace omniconv {

using conv::Algorithm;
using conv::align64;
using conv::kAxes;
using conv::Layout;
using conv::Operands;
using conv::Phase;
using conv::Problem;
using conv::Target;
using conv::WeightView;
using conv::Work;

namespace {

constexpr const char* kReference = "reference";
constexpr double kCyclesPerSecond = 2e9;

std::string decline(const ConvDesc& desc, const Work& work, const Algorithm& a, Layout layout,
                    const conv::Kernels& kernels) {
  if (desc.dtype != DType::float32) return "float64 runs on the reference alone";
  if (desc.op == ConvOp::grad_weight)
    return a.grad_weight ? a.grad_weight->decline(work.problem) : "has no gradient of the weights";
  if (a.needs_split && !kernels.split) return "the instruction set in force has no matrix unit";
  for (const Phase& phase : work.phases) {
    const std::string why = a.decline(phase.problem, layout);
    if (!why.empty()) return why;
  }
  return "";
}

size_t workspace_of(const ConvDesc& desc, const Work& work, const Algorithm& a, Target target) {
  if (desc.op == ConvOp::grad_weight) return a.grad_weight->workspace(work.problem, target);
  size_t most = 0;
  for (const Phase& phase : work.phases) most = std::max(most, a.workspace(phase.problem, target));
  return most;
}

// Why not so much scratch memory, or empty.
std::string over_limit(const ConvDesc& desc, size_t bytes) {
  if (desc.workspace_limit < 0 || bytes <= size_t(desc.workspace_limit)) return "";
  return "takes " + std::to_string(bytes) + " bytes of scratch memory; workspace_limit is " +
         std::to_string(desc.workspace_limit);
}

double cost_of(const ConvDesc& desc, const Work& work, const Algorithm& a, Layout layout, Target target) {
  if (desc.op == ConvOp::grad_weight) return a.grad_weight->cost(work.problem, target) / kCyclesPerSecond;
  double cycles = 0;
  for (const Phase& phase : work.phases) {
    cycles += a.cost(phase.problem, layout, target);
    if (desc.weights_change && a.pack_cost) cycles += a.pack_cost(phase.problem, target);
  }
  return cycles / kCyclesPerSecond;
}

// One multiply-add in four cycles: loads, border tests and a dependent addition.
double reference_cost(const Problem& p, int threads) { return p.flops() * 2 / threads / kCyclesPerSecond; }

// Every algorithm with what it says, the one to take first. The order follows the cost of one image, measured where
// that was done and else predicted, and among algorithms with the same bits that of the best of them in any layout: so
// bits depend neither on batch nor on layout.
std::vector<AlgorithmInfo> survey(const ConvDesc& desc, const Work& work, Layout layout, Target target) {
  struct Entry {
    AlgorithmInfo info;
    bool own_bits;
    double rank, cost;
  };
  std::vector<Entry> all;
  const Work image = conv::one_image(work);
  const std::shared_ptr<const conv::Times> times = conv::measured_times(desc);
  // What was not measured comes after all that was.
  const double after = times ? 1e6 : 0;
  double best = after + reference_cost(image.problem, target.threads);
  for (int i = 0; i < conv::kAlgorithmCount; ++i) {
    const Algorithm& a = *conv::kAlgorithms[i];
    AlgorithmInfo info;
    info.name = a.name;
    info.reason = decline(desc, work, a, layout, target.kernels);
    info.usable = info.reason.empty();
    const bool own_bits = a.own_bits || desc.op == ConvOp::grad_weight;
    const auto measured = [&](bool last) {
      const auto found = times ? times->find({a.name, last}) : conv::Times::const_iterator{};
      return times && found != times->end() ? found->second : 0;
    };
    double cost = 0;
    for (bool last : {false, true}) {
      if (!decline(desc, work, a, {last}, target.kernels).empty()) continue;
      const double here = measured(last) > 0 ? measured(last) : after + cost_of(desc, image, a, {last}, target);
      if (!own_bits) best = std::min(best, here);
      if (last == layout.channels_contiguous) cost = here;
    }
    if (info.usable) {
      info.workspace_bytes = workspace_of(desc, work, a, target);
      info.cost = cost_of(desc, work, a, layout, target);
      info.measured = measured(layout.channels_contiguous) * double(work.problem.batch);
      info.reason = over_limit(desc, info.workspace_bytes);
      info.usable = info.reason.empty();
    }
    all.push_back({info, own_bits, cost, cost});
  }
  const double last = after + reference_cost(image.problem, target.threads);
  all.push_back({{kReference, true, "", 0, reference_cost(work.problem, target.threads)}, true, last, last});
  for (Entry& e : all)
    if (!e.own_bits) e.rank = best;
  std::stable_sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) {
    if (a.info.usable != b.info.usable) return a.info.usable;
    return a.info.usable && (a.rank != b.rank ? a.rank < b.rank : a.cost < b.cost);
  });
  std::vector<AlgorithmInfo> infos;
  for (Entry& e : all) infos.push_back(std::move(e.info));
  return infos;
}

const Algorithm* find(const std::string& name) {
  for (int i = 0; i < conv::kAlgorithmCount; ++i)
    if (name == conv::kAlgorithms[i]->name) return conv::kAlgorithms[i];
  return nullptr;
}

// The algorithm for a layout: nullptr is the reference. `why` is set when a named algorithm cannot run.
const Algorithm* choose(const ConvDesc& desc, const Work& work, Layout layout, Target target, std::string* why) {
  if (desc.algorithm == "auto") return find(survey(desc, work, layout, target).front().name);
  if (desc.algorithm == kReference) return nullptr;
  const Algorithm* a = find(desc.algorithm);
  if (!a) {
    std::string names = "'auto', 'reference'";
    for (int i = 0; i < conv::kAlgorithmCount; ++i) names += std::string(", '") + conv::kAlgorithms[i]->name + "'";
    throw Error(Code::invalid_argument, "algorithm is '" + desc.algorithm + "'; allowed are " + names);
  }
  *why = decline(desc, work, *a, layout, target.kernels);
  if (why->empty()) *why = over_limit(desc, workspace_of(desc, work, *a, target));
  return a;
}

}  // namespace

std::vector<int64_t> conv_output_shape(const ConvDesc& desc) {
  const Problem p = conv::make_problem(desc);
  std::vector<int64_t> shape{p.batch, p.groups * p.co};
  for (int i = kAxes - desc.spatial; i < kAxes; ++i) shape.push_back(p.axis[i].out);
  return shape;
}

namespace {

void check_integers(const ConvDesc& desc) {
  if (desc.dtype != DType::float32)
    throw Error(Code::not_supported,
                std::string("precision is 'dfp16', which is for float32; dtype is ") + name(desc.dtype));
  if (plugin_of(desc.device))
    throw Error(Code::not_supported,
                "precision is 'dfp16', which runs on the CPU; the arrays are on " + name(desc.device));
}

// In the order of preference: where there is a matrix unit it is four times as fast.
std::vector<AlgorithmInfo> survey_integers(const ConvDesc& desc, const Work& work) {
  check_integers(desc);
  const dfp16::Kernels& kernels = dfp16::kernels();
  std::vector<AlgorithmInfo> infos;
  for (const char* each : dfp16::kAlgorithmNames) {
    AlgorithmInfo info;
    info.name = each;
    info.reason = dfp16::decline(info.name, {}, kernels, work.problem);
    info.usable = info.reason.empty();
    const double products = work.problem.flops() / 2 / num_threads() / kCyclesPerSecond;
    info.cost = info.name == "tiles"   ? products / 200
                : info.name == "lines" ? products / kernels.width
                : info.name == "pairs" ? products / (3 * kernels.width)
                                       : products;
    if (info.usable) {
      ConvDesc named = desc;
      named.algorithm = each;
      info.workspace_bytes = dfp16::Convolution(named, work, {}).workspace_bytes(num_threads());
    }
    infos.push_back(std::move(info));
  }
  std::stable_sort(infos.begin(), infos.end(),
                   [](const AlgorithmInfo& a, const AlgorithmInfo& b) { return a.usable && !b.usable; });
  return infos;
}

void check_limit(const ConvDesc& desc) {
  if (desc.workspace_limit >= 0 && (desc.precision == Precision::dfp16 || plugin_of(desc.device)))
    throw Error(Code::not_supported, "workspace_limit is for the CPU and precisions other than 'dfp16'");
}

// Whoever computes on the device of the description.
std::vector<AlgorithmInfo> survey(const ConvDesc& desc, const Work& work) {
  check_limit(desc);
  if (desc.precision == Precision::dfp16) return survey_integers(desc, work);
  if (const DevicePlugin* plugin = plugin_of(desc.device)) return conv::DevicePlan::survey(desc, work, *plugin);
  return survey(desc, work, {desc.channels_last}, {conv::kernels(), num_threads()});
}

}  // namespace

std::vector<AlgorithmInfo> algorithms(const ConvDesc& desc) { return survey(desc, conv::make_work(desc)); }

struct ConvPlan::Impl {
  ConvDesc desc;
  Work work;
  const conv::Kernels& kernels = conv::kernels();
  const Algorithm* chosen[2] = {};  // by Layout::channels_contiguous; nullptr: the reference
  std::string declined[2];
  std::vector<int64_t> y_shape = conv_output_shape(desc);
  std::string algorithm;
  std::vector<size_t> packed_at;  // floats before the weights of each phase
  size_t packed_floats = 0;
  std::shared_ptr<const AlignedBuffer> packed;
  // A copy of the weights, when the reference runs and pack() was called.
  std::shared_ptr<const std::vector<char>> reference_weight;
  std::unique_ptr<conv::DevicePlan> device;     // all of the above is for the CPU's own kernels; this one replaces it
  std::unique_ptr<dfp16::Convolution> integer;  // so does this one, for Precision::dfp16

  Target target(int threads) const { return {kernels, threads}; }
  bool is_packed() const { return device ? device->packed() : integer ? integer->packed() : packed != nullptr; }

  explicit Impl(const ConvDesc& d) : desc(d), work(conv::make_work(d)) {
    check_limit(desc);
    if (desc.precision == Precision::dfp16) {
      check_integers(desc);
      integer = std::make_unique<dfp16::Convolution>(desc, work, dfp16::Options{});
      algorithm = integer->algorithm();
      return;
    }
    if (const DevicePlugin* plugin = plugin_of(desc.device)) {
      device = std::make_unique<conv::DevicePlan>(desc, work, *plugin);
      algorithm = device->algorithm();
      return;
    }
    const Target t = target(num_threads());
    for (int last = 0; last < 2; ++last) chosen[last] = choose(desc, work, {last == 1}, t, &declined[last]);
    const Algorithm* expected = chosen[desc.channels_last];
    if (!declined[desc.channels_last].empty())
      throw Error(Code::not_supported,
                  "algorithm '" + desc.algorithm + "' cannot run this problem: " + declined[desc.channels_last]);
    algorithm = expected ? expected->name : kReference;
    for (const Phase& phase : work.phases) {
      packed_at.push_back(packed_floats);
      if (!chosen[0] && !chosen[1]) continue;
      packed_floats += conv::packed_floats_aligned(kernels, phase.problem);
      if (const Algorithm* own = with_extra())
        packed_floats += align64(own->extra_floats(phase.problem, kernels) * 4) / 4;
    }
  }

  Impl(const Impl& other, int64_t images)
      : desc(other.desc),
        work(other.work),
        kernels(other.kernels),
        algorithm(other.algorithm),
        packed_at(other.packed_at),
        packed_floats(other.packed_floats),
        packed(other.packed),
        reference_weight(other.reference_weight) {
    desc.x_shape[0] = images;
    work = conv::make_work(desc);
    y_shape[0] = images;
    for (int last = 0; last < 2; ++last) chosen[last] = other.chosen[last], declined[last] = other.declined[last];
  }

  // The one of the two that keeps weights of its own; there is but one such algorithm.
  const Algorithm* with_extra() const {
    for (int last = 0; last < 2; ++last)
      if (chosen[last] && chosen[last]->keeps_weights() && declined[last].empty()) return chosen[last];
    return nullptr;
  }

  size_t small_bytes() const { return align64(4 * channels() * sizeof(double)); }  // dense copies of bias and scale
  int64_t channels() const { return desc.op == ConvOp::forward ? desc.w_shape[0] : desc.x_shape[1]; }

  size_t padded_bytes() const {
    if (!work.folded) return 0;
    const Problem p = conv::padded_problem(work.problem);
    return align64(size_t(p.batch) * p.groups * p.ci * p.axis[0].in * p.axis[1].in * p.axis[2].in * sizeof(float));
  }

  size_t workspace_bytes(int threads) const {
    if (device) return device->workspace_bytes();
    if (integer) return small_bytes() + padded_bytes() + integer->workspace_bytes(threads);
    size_t most = 0;
    for (int last = 0; last < 2; ++last)
      if (chosen[last] && declined[last].empty())
        most = std::max(most, workspace_of(desc, work, *chosen[last], target(threads)));
    const bool keeps = packed || desc.op == ConvOp::grad_weight;
    return small_bytes() + (chosen[0] || chosen[1] ? padded_bytes() : 0) + (keeps ? 0 : packed_floats * sizeof(float)) +
           most;
  }

  // `own`: the algorithm that wants its own form, if any; `alone`: no other will run.
  void pack_into(const TensorView& w, float* to, const Algorithm* own, bool alone) const {
    for (size_t i = 0; i < work.phases.size(); ++i)
      conv::pack_for(own, !alone, work.phases[i].problem, kernels, static_cast<const float*>(w.data),
                     conv::weight_view(desc, work, work.phases[i], w), to + packed_at[i]);
  }

  template <class T>
  void run_reference(const ConvOperands& o, const T* bias, const T* scale) const;
  void run_phases(const Algorithm& a, const Operands& m, const float* weights, char* workspace, int threads) const;
  void run_float32(const Algorithm& a, const ConvOperands& o, Operands m, char* workspace, int threads) const;
  void run_integer(const ConvOperands& o, Operands m, char* workspace, int threads) const;
  void run(const ConvOperands& o, char* workspace, int threads) const;
};

template <class T>
void ConvPlan::Impl::run_reference(const ConvOperands& o, const T* bias, const T* scale) const {
  reference::ConvOperands<T> m;
  Phase whole;
  whole.problem = work.problem;
  if (desc.op == ConvOp::grad_input) std::swap(whole.problem.ci, whole.problem.co);  // as a phase has them
  const bool grad_weight = desc.op == ConvOp::grad_weight;
  m.a = static_cast<const T*>(o.a.data);
  m.as = conv::strides_of(o.a);
  m.b = static_cast<const T*>(o.b.data);
  if (grad_weight) m.bs = conv::strides_of(o.b);
  m.view = conv::weight_view(desc, work, whole, grad_weight ? o.out : o.b);
  if (desc.op == ConvOp::grad_input) std::swap(m.view.co, m.view.ci);  // the reference keeps the forward names
  m.out = static_cast<T*>(o.out.data);
  m.os = conv::strides_of(o.out);
  m.residual = static_cast<const T*>(o.residual.data);
  if (o.residual.defined()) m.rs = conv::strides_of(o.residual);
  m.bias = bias;
  m.scale = scale;
  m.activation = desc.activation;
  m.negative_slope = desc.negative_slope;
  switch (desc.op) {
    case ConvOp::forward: return reference::conv_forward(work.problem, m);
    case ConvOp::grad_input: return reference::conv_grad_input(work.problem, m);
    case ConvOp::grad_weight: return reference::conv_grad_weight(work.problem, m);
  }
}

void ConvPlan::Impl::run_phases(const Algorithm& a, const Operands& m, const float* weights, char* workspace,
                                int threads) const {
  if (!work.covered) {
    Problem empty = work.folded ? conv::padded_problem(work.problem) : work.problem;
    for (conv::Axis& axis : empty.axis) axis.out = axis.in;
    conv::fill_epilogue(empty, m, threads);
  }
  for (size_t i = 0; i < work.phases.size(); ++i) {
    const Phase& phase = work.phases[i];
    Operands part = m;
    for (int axis = 0; axis < kAxes; ++axis) {
      part.y += phase.start[axis] * m.ys.axis[axis];
      part.ys.axis[axis] = m.ys.axis[axis] * phase.step[axis];
      if (part.residual) part.residual += phase.start[axis] * m.rs.axis[axis];
      part.rs.axis[axis] = m.rs.axis[axis] * phase.step[axis];
    }
    if (phase.problem.pixels() > 0) a.run({phase.problem, part, weights + packed_at[i], workspace, target(threads)});
  }
}

void ConvPlan::Impl::run_float32(const Algorithm& a, const ConvOperands& o, Operands m, char* workspace,
                                 int threads) const {
  if (desc.op == ConvOp::grad_weight) {
    Phase whole;
    whole.problem = work.problem;
    m.x = static_cast<const float*>(o.b.data);
    m.xs = conv::strides_of(o.b);
    m.y = static_cast<float*>(o.a.data);
    m.ys = conv::strides_of(o.a);
    return a.grad_weight->run({work.problem, m, static_cast<float*>(o.out.data),
                               conv::weight_view(desc, work, whole, o.out), workspace, target(threads)});
  }
  m.x = static_cast<const float*>(o.a.data);
  m.xs = conv::strides_of(o.a);
  m.y = static_cast<float*>(o.out.data);
  m.ys = conv::strides_of(o.out);
  m.residual = static_cast<const float*>(o.residual.data);
  if (o.residual.defined()) m.rs = conv::strides_of(o.residual);
  m.activation = desc.activation;
  m.negative_slope = float(desc.negative_slope);
  const float* weights = packed ? static_cast<const float*>(packed->data()) : nullptr;
  if (!weights) {
    auto* room = reinterpret_cast<float*>(workspace);
    workspace += packed_floats * sizeof(float);
    pack_into(o.b, room, &a, true);
    weights = room;
  }
  if (!work.folded) return run_phases(a, m, weights, workspace, threads);
  // The gradient of the padded input first, without epilogue; then every border element is added to its source.
  const Problem padded = conv::padded_problem(work.problem);
  Operands bare;
  bare.x = m.x;
  bare.xs = m.xs;
  bare.y = reinterpret_cast<float*>(workspace);
  bare.ys = conv::dense_strides(padded.groups * padded.ci, padded.axis);
  run_phases(a, bare, weights, workspace + padded_bytes(), threads);
  conv::fold_border(work.problem, padded, bare.y, bare.ys, m, threads);
}

void ConvPlan::Impl::run_integer(const ConvOperands& o, Operands m, char* workspace, int threads) const {
  const bool grad_weight = desc.op == ConvOp::grad_weight;
  dfp16::Call call;
  call.grad = o.a;  // in a forward problem, x
  call.a = {o.a.data, false, conv::strides_of(o.a)};
  call.x = o.b;
  if (o.b.defined()) call.b = {o.b.data, false, conv::strides_of(o.b)};
  call.weight = grad_weight ? o.out : o.b;
  call.out = o.out.data;
  if (grad_weight) {
    integer->run(call, workspace, threads);
    return;
  }
  m.y = static_cast<float*>(o.out.data);
  m.ys = conv::strides_of(o.out);
  m.residual = static_cast<const float*>(o.residual.data);
  if (o.residual.defined()) m.rs = conv::strides_of(o.residual);
  m.activation = desc.activation;
  m.negative_slope = float(desc.negative_slope);
  call.memory = m;
  if (!work.folded) {
    integer->run(call, workspace, threads);
    return;
  }
  const Problem padded = conv::padded_problem(work.problem);  // as in run_float32
  call.memory = {};
  call.memory.y = reinterpret_cast<float*>(workspace);
  call.memory.ys = conv::dense_strides(padded.groups * padded.ci, padded.axis);
  call.out = workspace;
  integer->run(call, workspace + padded_bytes(), threads);
  conv::fold_border(work.problem, padded, call.memory.y, call.memory.ys, m, threads);
}

void ConvPlan::Impl::run(const ConvOperands& operands, char* workspace, int threads) const {
  ConvOperands o = operands;
  if (reference_weight) o.b = conv::dense_view(const_cast<char*>(reference_weight->data()), desc.dtype, desc.w_shape);
  conv::check_operands(desc, y_shape, o, is_packed());
  if (o.out.size() == 0) return;
  if (device) return device->run(o, workspace);
  if (integer) {
    Operands m;
    auto* copies = reinterpret_cast<float*>(workspace);
    m.bias = conv::dense_vector(o.bias, copies);
    m.scale = conv::dense_vector(o.scale, copies + channels());
    return run_integer(o, m, workspace + small_bytes(), threads);
  }
  const bool contiguous = (desc.op == ConvOp::grad_weight ? o.b : o.a).strides[1] == 1;
  const Algorithm* a = chosen[contiguous];
  if (!declined[contiguous].empty())
    throw Error(Code::not_supported,
                "algorithm '" + desc.algorithm + "' cannot run this problem: " + declined[contiguous]);
  char* small = workspace;
  workspace += small_bytes();
  if (desc.dtype == DType::float64) {
    auto* copies = reinterpret_cast<double*>(small);
    return run_reference<double>(o, conv::dense_vector(o.bias, copies),
                                 conv::dense_vector(o.scale, copies + channels()));
  }
  auto* copies = reinterpret_cast<float*>(small);
  Operands m;
  m.bias = conv::dense_vector(o.bias, copies);
  m.scale = conv::dense_vector(o.scale, copies + channels());
  if (!a) return run_reference<float>(o, m.bias, m.scale);
  run_float32(*a, o, m, workspace, threads);
}

ConvPlan::ConvPlan(const ConvDesc& desc) : impl_(std::make_unique<Impl>(desc)) {}
ConvPlan::ConvPlan(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConvPlan::~ConvPlan() = default;
ConvPlan::ConvPlan(ConvPlan&&) noexcept = default;
ConvPlan& ConvPlan::operator=(ConvPlan&&) noexcept = default;

void ConvPlan::pack(const TensorView& weight, void* stream) {
  Impl& s = *impl_;
  if (s.desc.op == ConvOp::grad_weight)
    throw Error(Code::invalid_argument, "the gradient of the weights has no weights to pack");
  conv::check_weight(s.desc, weight);
  if (s.device) return s.device->pack(weight, stream);
  if (s.integer) return s.integer->pack(weight);
  if (s.desc.dtype == DType::float64 || !s.chosen[0] || !s.chosen[1])
    s.reference_weight = std::make_shared<const std::vector<char>>(conv::dense_copy(weight));
  if (s.packed_floats == 0) return;
  auto packed = std::make_shared<AlignedBuffer>(s.packed_floats * sizeof(float));
  s.pack_into(weight, static_cast<float*>(packed->data()), s.with_extra(), s.chosen[0] == s.chosen[1]);
  s.packed = std::move(packed);
}

ConvPlan ConvPlan::for_batch(int64_t images) const {
  if (impl_->device || impl_->integer)
    throw Error(Code::not_supported, "a plan for another batch is one for the CPU and not of precision 'dfp16'");
  return ConvPlan(std::make_unique<Impl>(*impl_, images));
}

void ConvPlan::run(const ConvOperands& operands) const {
  if (impl_->device) return impl_->run(operands, nullptr, 1);
  const int threads = num_threads();
  const ScopedWorkspace scratch(impl_->workspace_bytes(threads));
  impl_->run(operands, static_cast<char*>(scratch.data()), threads);
}

void ConvPlan::run(const ConvOperands& operands, void* workspace, size_t bytes) const {
  const int threads = num_threads();
  const size_t needed = impl_->workspace_bytes(threads);
  if (bytes < needed)
    throw Error(Code::invalid_argument, "workspace has " + std::to_string(bytes) + " bytes; the plan needs " +
                                            std::to_string(needed) + " with " + std::to_string(threads) + " thread(s)");
  if (reinterpret_cast<uintptr_t>(workspace) % kAlignment != 0)
    throw Error(Code::invalid_argument, "workspace is not aligned to " + std::to_string(kAlignment) + " bytes");
  impl_->run(operands, static_cast<char*>(workspace), threads);
}

const ConvDesc& ConvPlan::desc() const { return impl_->desc; }
const std::string& ConvPlan::algorithm() const { return impl_->algorithm; }
size_t ConvPlan::workspace_bytes() const { return impl_->workspace_bytes(num_threads()); }
size_t ConvPlan::packed_bytes() const {
  if (impl_->device) return impl_->device->packed_bytes();
  if (impl_->integer) return impl_->integer->packed_bytes();
  return (impl_->packed ? impl_->packed->size() : 0) + (impl_->reference_weight ? impl_->reference_weight->size() : 0);
}
double ConvPlan::flops() const { return impl_->work.problem.flops(); }

std::vector<int64_t> ConvPlan::output_shape() const {
  switch (impl_->desc.op) {
    case ConvOp::forward: return impl_->y_shape;
    case ConvOp::grad_input: return impl_->desc.x_shape;
    case ConvOp::grad_weight: return impl_->desc.w_shape;
  }
  return {};
}

std::string ConvPlan::explain() const {
  const Impl& s = *impl_;
  const Problem& p = s.work.problem;
  static const char* const ops[] = {"forward", "grad_input", "grad_weight"};
  char line[256];
  std::string text = "conv" + std::to_string(s.desc.spatial) + "d " + ops[int(s.desc.op)] + " x " +
                     shape_string(s.desc.x_shape.data(), int(s.desc.x_shape.size())) + " w " +
                     shape_string(s.desc.w_shape.data(), int(s.desc.w_shape.size())) + " " + name(s.desc.dtype) + "\n";
  std::snprintf(line, sizeof line, "%.3f GFLOP, %lld pixels x %lld channels x %lld terms, %zu phase(s), %d thread(s)\n",
                p.flops() * 1e-9, (long long)p.pixels(), (long long)(p.groups * p.co), (long long)p.k(),
                s.work.phases.size(), num_threads());
  text += line;
  if (s.integer)
    text +=
        "dfp16: operands rounded to 15 bits, an exponent for each image, sums exact; how long chains of int32 may "
        "be is proven in every run from the norms of its operands\n";
  for (const AlgorithmInfo& a : survey(s.desc, s.work)) {
    char measured[40] = "";
    if (a.measured > 0) std::snprintf(measured, sizeof measured, ", measured %10.3f ms", a.measured * 1e3);
    if (a.usable)
      std::snprintf(line, sizeof line, "%s %-12s predicted %10.3f ms%s, workspace %10.3f MiB\n",
                    a.name == s.algorithm ? "*" : " ", a.name.c_str(), a.cost * 1e3, measured,
                    double(a.workspace_bytes) / (1 << 20));
    else
      std::snprintf(line, sizeof line, "  %-12s no: %s\n", a.name.c_str(), a.reason.c_str());
    text += line;
  }
  return text;
}

}  // namespace omniconv
