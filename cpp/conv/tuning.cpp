// conv/tuning.cpp -- measures the algorithms of a problem, and keeps the times for the choice of "auto"
#include "conv/tuning.hpp"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <numeric>
#include <vector>

#include "conv/operands.hpp"
#include "core/device.hpp"
#include "core/workspace.hpp"
#include "omniconv/context.hpp"

namespace omniconv {
namespace {

struct Book {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<const conv::Times>> problems;
};
Book& book() {
  static Book* all = new Book;  // never destroyed: plans may be made until the very end
  return *all;
}

template <class Values>
std::string list(const Values& values, size_t from, size_t end) {
  std::string text;
  for (size_t i = from; i < end; ++i) {
    if (i > from) text += 'x';
    text += std::to_string(values[i]);
  }
  return text;
}

// A dense operand of numbers in [-1, 1), its channels innermost where `last`.
class Operand {
 public:
  Operand(const std::vector<int64_t>& shape, bool last, uint32_t seed) {
    std::vector<int64_t> order = shape;
    if (last && shape.size() > 2) std::rotate(order.begin() + 1, order.begin() + 2, order.end());
    const int64_t size = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    memory_ = AlignedBuffer(std::max<size_t>(size_t(size), 1) * sizeof(float));
    float* data = static_cast<float*>(memory_.data());
    for (int64_t i = 0; i < size; ++i) {
      seed = seed * 1664525 + 1013904223;  // Numerical Recipes' generator: subnormals or zeros would mislead
      data[i] = float(seed >> 8) * 0x1p-23f - 1.0f;
    }
    view_ = conv::dense_view(data, DType::float32, order);
    if (last && shape.size() > 2) {
      std::vector<int> axes(shape.size());
      axes[0] = 0;
      axes[1] = int(shape.size()) - 1;
      for (size_t i = 2; i < shape.size(); ++i) axes[i] = int(i) - 1;
      view_ = view_.permuted(axes.data());
    }
  }
  const TensorView& view() const { return view_; }

 private:
  AlignedBuffer memory_;
  TensorView view_;
};

struct Contestant {
  std::string name;
  ConvPlan plan;
  std::vector<double> times;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

}  // namespace

std::string conv::tuning_key(const ConvDesc& d) {
  static const char* const ops[] = {"forward", "grad_input", "grad_weight"};
  static const char* const modes[] = {"zeros", "reflect", "replicate", "circular"};
  static const char* const precisions[] = {"highest", "high", "medium", "dfp16"};
  const size_t axes = size_t(d.spatial);
  std::string key = std::string(ops[int(d.op)]) + " x " + list(d.x_shape, 1, d.x_shape.size()) + " w " +
                    list(d.w_shape, 0, d.w_shape.size()) + " stride " + list(d.stride, 0, axes) + " dilation " +
                    list(d.dilation, 0, axes) + " padding " + list(d.pad_lo, 0, axes) + "," + list(d.pad_hi, 0, axes);
  if (d.op == ConvOp::grad_input) key += " output_padding " + list(d.output_padding, 0, axes);
  key += std::string(" ") + modes[int(d.padding_mode)] + " groups " + std::to_string(d.groups) + " " +
         precisions[int(d.precision)];
  if (d.weights_change && d.op != ConvOp::grad_weight) key += " unpacked";
  return key + " " + std::string(name(current_isa()));
}

std::shared_ptr<const conv::Times> conv::measured_times(const ConvDesc& desc) {
  const std::lock_guard lock(book().mutex);
  if (book().problems.empty()) return nullptr;
  const auto found = book().problems.find(tuning_key(desc));
  return found == book().problems.end() ? nullptr : found->second;
}

std::vector<TunedProblem> tuned_problems() {
  std::vector<TunedProblem> all;
  const std::lock_guard lock(book().mutex);
  for (const auto& [key, times] : book().problems) {
    all.push_back({key, {}});
    for (const auto& [who, seconds] : *times) all.back().times.push_back({who.first, who.second, seconds});
  }
  return all;
}

void add_tuned_problems(const std::vector<TunedProblem>& problems) {
  for (const TunedProblem& p : problems)
    for (const MeasuredTime& t : p.times)
      if (!(t.seconds > 0))
        throw Error(Code::invalid_argument, "'" + t.algorithm + "' of problem '" + p.key + "' has a time of " +
                                                std::to_string(t.seconds) + " s; expected is a positive one");
  const std::lock_guard lock(book().mutex);
  for (const TunedProblem& p : problems) {
    auto times = std::make_shared<conv::Times>();
    for (const MeasuredTime& t : p.times) (*times)[{t.algorithm, t.channels_last}] = t.seconds;
    if (!times->empty()) book().problems[p.key] = std::move(times);
  }
}

void clear_tuned_problems() {
  const std::lock_guard lock(book().mutex);
  book().problems.clear();
}

namespace {

// The times of one image of every algorithm in the layout of `desc`, in turns, so that a busy neighbour slows all
// alike.
void measure(const ConvDesc& desc, const std::vector<int64_t>& y_shape, double seconds, TunedProblem& to) {
  const bool forward = desc.op == ConvOp::forward, grad_weight = desc.op == ConvOp::grad_weight;
  const Operand x(desc.x_shape, desc.channels_last, 1), w(desc.w_shape, false, 2), y(y_shape, desc.channels_last, 3);
  ConvOperands o;
  o.a = forward ? x.view() : y.view();
  o.b = grad_weight ? x.view() : w.view();
  o.out = forward ? y.view() : grad_weight ? w.view() : x.view();
  const auto time = [&](const ConvPlan& plan) {
    const auto start = std::chrono::steady_clock::now();
    plan.run(o);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::vector<Contestant> field;
  double spent = 0, best = 1e30;
  for (const AlgorithmInfo& info : algorithms(desc)) {
    if (!info.usable || info.name == "reference") continue;  // the reference is no candidate
    ConvDesc named = desc;
    named.algorithm = info.name;
    Contestant c{info.name, ConvPlan(named), {}};
    if (!grad_weight && !desc.weights_change) c.plan.pack(w.view());
    spent += time(c.plan);  // memory, caches
    c.times.push_back(time(c.plan));
    spent += c.times[0];
    best = std::min(best, c.times[0]);
    field.push_back(std::move(c));
  }
  for (int round = 0; round < 2 || (spent < seconds && round < 1000); ++round)
    for (Contestant& c : field) {
      if (c.times[0] > 3 * best) continue;  // too far behind to be worth the time
      c.times.push_back(time(c.plan));
      spent += c.times.back();
    }
  for (Contestant& c : field)
    to.times.push_back({c.name, desc.channels_last, median(std::move(c.times)) / double(desc.x_shape[0])});
}

}  // namespace

std::vector<AlgorithmInfo> tune(const ConvDesc& desc, double seconds) {
  if (desc.dtype != DType::float32)
    throw Error(Code::not_supported, "dtype is " + std::string(name(desc.dtype)) + "; only float32 has a choice");
  if (desc.precision == Precision::dfp16)
    throw Error(Code::not_supported, "precision is 'dfp16', whose algorithms have an order of their own");
  if (plugin_of(desc.device))
    throw Error(Code::not_supported, "device is " + name(desc.device) + "; measured is on the CPU alone");
  if (!(seconds > 0)) throw Error(Code::invalid_argument, "seconds is " + std::to_string(seconds) + "; it must be > 0");
  const std::vector<int64_t> y_shape = conv_output_shape(desc);
  for (const std::vector<int64_t>* shape : {&desc.x_shape, &desc.w_shape, &y_shape})
    if (std::find(shape->begin(), shape->end(), 0) != shape->end())
      throw Error(Code::invalid_argument, "an operand is empty; there is nothing to measure");
  TunedProblem result{conv::tuning_key(desc), {}};
  for (const bool last : {false, true}) {
    ConvDesc each = desc;
    each.channels_last = last;
    each.algorithm = "auto";
    measure(each, y_shape, seconds / 2, result);
  }
  add_tuned_problems({result});
  return algorithms(desc);
}

}  // namespace omniconv
