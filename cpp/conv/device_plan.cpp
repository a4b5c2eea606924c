// conv/device_plan.cpp -- a plan whose kernels are those of a device plugin
#include "conv/device_plan.hpp"

#include <algorithm>

#include "conv/operands.hpp"
#include "core/device.hpp"

namespace omniconv::conv {
namespace {

size_t align256(size_t bytes) { return (bytes + 255) / 256 * 256; }

// The questions that a description comes down to, one for each phase.
std::vector<DeviceAsk> questions(const ConvDesc& desc, const Work& work) {
  const bool float64 = desc.dtype == DType::float64;
  if (desc.op == ConvOp::grad_weight) return {{&work.problem, true, float64}};
  std::vector<DeviceAsk> asks;
  for (const Phase& phase : work.phases) asks.push_back({&phase.problem, false, float64});
  return asks;
}

std::string decline(const DeviceAlgorithm& a, const ConvDesc& desc, const Work& work) {
  for (const DeviceAsk& ask : questions(desc, work)) {
    DeviceMessage message;
    a.decline(&ask, &message);
    if (message.text[0]) return message.text;
  }
  return "";
}

size_t workspace_of(const DeviceAlgorithm& a, const ConvDesc& desc, const Work& work) {
  size_t most = 0;
  for (const DeviceAsk& ask : questions(desc, work)) most = std::max(most, a.workspace(&ask));
  return align256(most);
}

double cost_of(const DeviceAlgorithm& a, const ConvDesc& desc, const Work& work) {
  double seconds = 0;
  for (const DeviceAsk& ask : questions(desc, work)) seconds += a.cost(&ask);
  return seconds;
}

size_t packed_of(const DeviceAlgorithm& a, const ConvDesc& desc, const Work& work, std::vector<size_t>* at) {
  size_t bytes = 0;
  if (desc.op == ConvOp::grad_weight) return bytes;
  for (const DeviceAsk& ask : questions(desc, work)) {
    if (at) at->push_back(bytes);
    bytes += align256(a.packed(&ask));
  }
  return bytes;
}

}  // namespace

std::vector<AlgorithmInfo> DevicePlan::survey(const ConvDesc& desc, const Work& work, const DevicePlugin& plugin) {
  struct Entry {
    AlgorithmInfo info;
    double rank;
  };
  std::vector<Entry> all;
  const Work image = one_image(work);
  for (int i = 0; i < plugin.conv->count; ++i) {
    const DeviceAlgorithm& a = *plugin.conv->algorithms[i];
    AlgorithmInfo info;
    info.name = a.name;
    info.reason = decline(a, desc, work);
    info.usable = info.reason.empty();
    if (info.usable) {
      info.workspace_bytes = workspace_of(a, desc, work) + packed_of(a, desc, work, nullptr);
      info.cost = cost_of(a, desc, work);
    }
    all.push_back({info, info.usable ? cost_of(a, desc, image) : 0});
  }
  std::stable_sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) {
    return a.info.usable != b.info.usable ? a.info.usable : a.info.usable && a.rank < b.rank;
  });
  std::vector<AlgorithmInfo> infos;
  for (Entry& e : all) infos.push_back(std::move(e.info));
  return infos;
}

DevicePlan::DevicePlan(const ConvDesc& desc, const Work& work, const DevicePlugin& plugin)
    : desc_(desc), work_(work), plugin_(plugin), chosen_(nullptr) {
  const std::string name = desc.algorithm == "auto" ? survey(desc, work, plugin).front().name : desc.algorithm;
  std::string names = "'auto'";
  for (int i = 0; i < plugin.conv->count; ++i) {
    const DeviceAlgorithm* a = plugin.conv->algorithms[i];
    if (name == a->name) chosen_ = a;
    names += std::string(", '") + a->name + "'";
  }
  if (!chosen_)
    throw Error(Code::invalid_argument, "algorithm is '" + desc.algorithm + "'; allowed on this device are " + names);
  const std::string why = decline(*chosen_, desc, work);
  if (!why.empty())
    throw Error(Code::not_supported, "algorithm '" + desc.algorithm + "' cannot run this problem: " + why);
  packed_bytes_ = packed_of(*chosen_, desc, work, &packed_at_);
}

DevicePlan::~DevicePlan() {
  DeviceMessage message;
  if (!kept_) return;
  plugin_.settle(desc_.device.id, &message);  // runs in any stream may still read them
  plugin_.release(desc_.device.id, nullptr, kept_, &message);
}

size_t DevicePlan::padded_bytes() const {
  if (!work_.folded) return 0;
  const Problem p = padded_problem(work_.problem);
  const int64_t elements = p.batch * p.groups * p.ci * p.axis[0].in * p.axis[1].in * p.axis[2].in;
  return align256(size_t(elements) * (desc_.dtype == DType::float32 ? 4 : 8));
}

size_t DevicePlan::workspace_bytes() const {
  return padded_bytes() + (kept_ ? 0 : packed_bytes_) + workspace_of(*chosen_, desc_, work_);
}

void DevicePlan::pack_into(const TensorView& weight, char* to, void* stream) const {
  for (size_t i = 0; i < work_.phases.size(); ++i) {
    const Phase& phase = work_.phases[i];
    if (phase.problem.pixels() == 0) continue;
    DeviceCall call{};
    call.problem = &phase.problem;
    call.device = desc_.device.id;
    call.stream = stream;
    call.float64 = desc_.dtype == DType::float64;
    call.weight = weight.data;
    call.view = weight_view(desc_, work_, phase, weight);
    call.packed = to + packed_at_[i];
    DeviceMessage message;
    check(chosen_->pack(&call, &message), message);
  }
}

void DevicePlan::pack(const TensorView& weight, void* stream) {
  DeviceMessage message;
  void* memory = kept_;
  if (!memory) check(plugin_.allocate(desc_.device.id, stream, packed_bytes_, &memory, &message), message);
  pack_into(weight, static_cast<char*>(memory), stream);
  kept_ = static_cast<char*>(memory);
  check(plugin_.settle(desc_.device.id, &message), message);  // runs may come in any stream
}

void DevicePlan::run_phases(DeviceCall call, char* packed, char* workspace) const {
  const DeviceCall whole = call;
  const int64_t item = call.float64 ? 8 : 4;
  DeviceMessage message;
  if (!work_.covered) {
    Problem empty = work_.folded ? padded_problem(work_.problem) : work_.problem;
    for (Axis& axis : empty.axis) axis.out = axis.in;
    call.problem = &empty;
    check(plugin_.conv->fill(&call, &message), message);
  }
  for (size_t i = 0; i < work_.phases.size(); ++i) {
    const Phase& phase = work_.phases[i];
    if (phase.problem.pixels() == 0) continue;
    call = whole;
    call.problem = &phase.problem;
    for (int axis = 0; axis < kAxes; ++axis) {
      call.y = static_cast<char*>(call.y) + phase.start[axis] * whole.ys.axis[axis] * item;
      call.ys.axis[axis] = whole.ys.axis[axis] * phase.step[axis];
      if (!call.residual) continue;
      call.residual = static_cast<const char*>(call.residual) + phase.start[axis] * whole.rs.axis[axis] * item;
      call.rs.axis[axis] = whole.rs.axis[axis] * phase.step[axis];
    }
    call.packed = packed + packed_at_[i];
    call.workspace = workspace;
    check(chosen_->forward(&call, &message), message);
  }
}

void DevicePlan::run(const ConvOperands& o, void* workspace) const {
  DeviceMessage message;
  void* own = nullptr;
  const size_t bytes = workspace_bytes();
  if (!workspace && bytes > 0) check(plugin_.allocate(desc_.device.id, o.stream, bytes, &own, &message), message);
  // Gives the memory back in the order of the stream, whatever happens in between.
  struct Release {
    const DevicePlan& plan;
    void *stream, *memory;
    ~Release() {
      DeviceMessage unread;
      if (memory) plan.plugin_.release(plan.desc_.device.id, stream, memory, &unread);
    }
  } const release{*this, o.stream, own};
  char* at = static_cast<char*>(own ? own : workspace);

  DeviceCall call{};
  call.problem = &work_.problem;
  call.device = desc_.device.id;
  call.stream = o.stream;
  call.float64 = desc_.dtype == DType::float64;
  if (desc_.op == ConvOp::grad_weight) {
    Phase whole;
    whole.problem = work_.problem;
    call.x = o.b.data;
    call.xs = strides_of(o.b);
    call.y = o.a.data;
    call.ys = strides_of(o.a);
    call.weight = o.out.data;
    call.view = weight_view(desc_, work_, whole, o.out);
    call.workspace = at;
    return check(chosen_->grad_weight(&call, &message), message);
  }
  call.x = o.a.data;
  call.xs = strides_of(o.a);
  call.y = o.out.data;
  call.ys = strides_of(o.out);
  DeviceCall last = call;  // what writes the output
  last.bias = o.bias.data;
  last.bias_stride = o.bias.strides[0];
  last.scale = o.scale.data;
  last.scale_stride = o.scale.strides[0];
  last.residual = o.residual.data;
  if (o.residual.defined()) last.rs = strides_of(o.residual);
  last.activation = desc_.activation;
  last.negative_slope = desc_.negative_slope;
  char* packed = kept_;
  if (!packed) {
    packed = at;
    at += packed_bytes_;
    pack_into(o.b, packed, o.stream);
  }
  if (!work_.folded) return run_phases(last, packed, at);
  // The gradient of the padded input first, without epilogue; then every border element is added to its source.
  const Problem padded = padded_problem(work_.problem);
  call.y = at;
  call.ys = dense_strides(padded.groups * padded.ci, padded.axis);
  run_phases(call, packed, at + padded_bytes());
  last.x = call.y;
  last.xs = call.ys;
  check(plugin_.conv->fold(&last, &padded, &message), message);
}

void device_grad_bias(const DevicePlugin& plugin, const TensorView& grad, const TensorView& out, void* stream) {
  Problem p;
  p.batch = grad.shape[0];
  p.co = grad.shape[1];
  for (int i = 2; i < grad.ndim; ++i) p.axis[kAxes - grad.ndim + i].out = grad.shape[i];
  DeviceCall call{};
  call.problem = &p;
  call.device = grad.device.id;
  call.stream = stream;
  call.float64 = grad.dtype == DType::float64;
  call.y = grad.data;
  call.ys = strides_of(grad);
  call.weight = out.data;
  call.view.co = out.strides[0];
  DeviceMessage message;
  check(plugin.conv->grad_bias(&call, &message), message);
}

}  // namespace omniconv::conv
