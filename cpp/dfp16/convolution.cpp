// dfp16/convolution.cpp -- the steps of a run, and what they need of memory
#include "dfp16/convolution.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/thread_pool.hpp"
#include "dfp16/format.hpp"
#include "dfp16/magnitude.hpp"

namespace omniconv::dfp16 {

using conv::kAxes;
using conv::Phase;

const Kernels& kernels() {
  switch (current_isa()) {
#ifdef OMNICONV_WITH_AMX
    case Isa::amx: return amx::dfp16_kernels();
#endif
#ifdef OMNICONV_WITH_AVX512VNNI
    case Isa::avx512vnni: return avx512vnni::dfp16_kernels();
#endif
#ifdef OMNICONV_WITH_AVX512
    case Isa::avx512: return avx512::dfp16_kernels();
#endif
#ifdef OMNICONV_WITH_AVX2
    case Isa::avx2: return avx2::dfp16_kernels();
#endif
#ifdef OMNICONV_WITH_NEON
    case Isa::neon: return neon::dfp16_kernels();
#endif
    default: return scalar::dfp16_kernels();
  }
}

const char* const kAlgorithmNames[] = {"lines", "tiles", "pairs", "emulated_tiles"};

std::string decline(const std::string& algorithm, const Options& options, const Kernels& kernels,
                    const conv::Problem& problem) {
  if (algorithm == "pairs") return "";
  if (algorithm == "lines") {
    if (problem.ci != 1 || problem.co != 1) return "lines are of one input and one output channel in a group";
    if (options.accumulate == Accumulate::fp32_spill || options.overflow == Overflow::unchecked)
      return "lines have exact sums and nothing that could overflow";
    return problem.taps() <= int64_t{1} << 23 ? "" : "a double holds no more than 2^23 products";
  }
  if (options.accumulate == Accumulate::fp32_spill) return "tiles have no chains to add up in float32";
  if (options.overflow == Overflow::unchecked) return "sums of tiles cannot overflow";
  if (algorithm == "tiles" && !kernels.tiles) return "the instruction set in force has no matrix unit";
  return "";
}

struct Convolution::Weights {
  int16_t* pairs = nullptr;
  int16_t* digits = nullptr;
  int16_t* tiles = nullptr;
  int16_t* dense = nullptr;  // of lines
  Norms norms{};
};

struct Convolution::Scratch {
  int16_t *source, *dense, *room;
  int64_t* prefix;
  Segment* segments;
  char* product;
  double *row_scale, *column_scale;
  float (*factors)[2];
  int32_t *exponents, *largest;
  int32_t* partial;  // of the search for the largest magnitude
  Weights weights;
};

Convolution::Convolution(const ConvDesc& desc, const conv::Work& work, const Options& options)
    : desc_(desc), work_(work), options_(options), kernels_(kernels()) {
  const std::string& name = desc.algorithm;
  bool known = name == "auto";
  for (const char* each : kAlgorithmNames) known = known || name == each;
  if (!known)
    throw Error(Code::invalid_argument,
                "algorithm is '" + name + "'; allowed are 'auto', 'lines', 'pairs', 'tiles' and 'emulated_tiles'");
  const auto declines = [&](const std::string& algorithm) {
    return decline(algorithm, options, kernels_, work.problem);
  };
  const std::string why = name == "auto" ? "" : declines(name);
  if (!why.empty()) throw Error(Code::not_supported, "algorithm '" + name + "' cannot run this problem: " + why);
  lines_ = name == "lines" || (name == "auto" && declines("lines").empty());
  if (name == "emulated_tiles")
    tiles_ = &emulated_tiles();
  else if (name != "pairs" && !lines_ && declines("tiles").empty())
    tiles_ = kernels_.tiles;
  if (desc.op == ConvOp::grad_weight)
    shapes_.push_back(grad_weight_shape(work.problem));
  else
    for (const Phase& phase : work.phases) shapes_.push_back(forward_shape(phase.problem));
}

const char* Convolution::algorithm() const {
  if (lines_) return "lines";
  return !tiles_ ? "pairs" : tiles_ == &emulated_tiles() ? "emulated_tiles" : "tiles";
}

Convolution::Weights Convolution::keep(Arena& arena, const Shape& s) const {
  Weights w;
  if (lines_) {
    w.dense = arena.take<int16_t>(s.groups * s.columns * s.column_row());
    return w;
  }
  if (tiles_) {
    w.tiles = arena.take<int16_t>(packed_elements(s, Form::tiles, kernels_));
    return w;
  }
  w.pairs = arena.take<int16_t>(packed_elements(s, Form::pairs, kernels_));
  w.digits = arena.take<int16_t>(packed_elements(s, Form::digits, kernels_));
  return w;
}

Convolution::Scratch Convolution::lay_out(Arena& arena, int threads) const {
  int64_t source = 0, dense = 0, room = 0, prefix = 0, segments = 0;
  size_t product = 0;
  const Shape* largest = nullptr;  // of packed weights
  for (const Shape& s : shapes_) {
    const Form form = tiles_ ? Form::tiles : Form::pairs;
    source = std::max(source, s.source_elements());
    dense = std::max(dense, s.groups * s.columns * s.column_row());
    room = std::max(room, pack_room(s, form, kernels_));
    const bool spill = options_.accumulate == Accumulate::fp32_spill;
    segments = std::max(segments, most_segments(s, spill ? 2 : kShortestExact));
    product = std::max(product, lines_ ? lines_room(s) : product_room(s, form, kernels_));
    if (!largest || packed_elements(s, Form::pairs, kernels_) > packed_elements(*largest, Form::pairs, kernels_))
      largest = &s;
  }
  prefix = std::max(source, dense) / kNormBlock + 1;
  const int64_t images = work_.problem.batch;
  Scratch t{};
  t.source = arena.take<int16_t>(source);
  t.dense = arena.take<int16_t>(dense);
  t.room = arena.take<int16_t>(room * threads);
  t.prefix = arena.take<int64_t>(prefix);
  t.segments = arena.take<Segment>(segments);
  t.product = arena.take<char>(int64_t(product) * threads);
  t.row_scale = arena.take<double>(images + 1);
  t.column_scale = arena.take<double>(work_.problem.groups * work_.problem.co);
  t.factors = arena.take<float[2]>(images + 1);
  t.exponents = arena.take<int32_t>(images + 1);
  t.largest = arena.take<int32_t>(threads);
  t.partial = arena.take<int32_t>(kMagnitudeParts * (images + 1));
  if (lines_) {
    if (!packed()) t.weights.dense = t.dense;
  } else if (largest && !packed()) {
    // Of several phases, one after the other; a shape with more columns may have fewer terms, so both are asked.
    int64_t pairs = 0, digits = 0, tiles = 0;
    for (const Shape& s : shapes_) {
      pairs = std::max(pairs, packed_elements(s, Form::pairs, kernels_));
      digits = std::max(digits, packed_elements(s, Form::digits, kernels_));
      tiles = std::max(tiles, packed_elements(s, Form::tiles, kernels_));
    }
    if (tiles_)
      t.weights.tiles = arena.take<int16_t>(tiles);
    else
      t.weights.pairs = t.weights.digits = arena.take<int16_t>(std::max(pairs, digits));  // never both
  }
  return t;
}

size_t Convolution::workspace_bytes(int threads) const {
  Arena arena;
  lay_out(arena, threads);
  return arena.used();
}

// Dense weights and their norms.
void Convolution::make_weights(size_t phase, const Values& w, const TensorView& view, const float (&factor)[2],
                               Scratch& t, int threads, Weights& weights) const {
  const Shape& s = shapes_[phase];
  if (s.grad_weight)
    fill_gradient(s, w, factor, kernels_, threads, t.dense);
  else
    fill_weights(s, w, conv::weight_view(desc_, work_, work_.phases[phase], view), factor, kernels_, threads, t.dense);
  if (lines_) {
    if (weights.dense != t.dense) std::copy_n(t.dense, s.groups * s.columns * s.column_row(), weights.dense);
    return;
  }
  if (tiles_) return dfp16::pack(s, Form::tiles, t.dense, kernels_, threads, t.room, weights.tiles);
  if (options_.overflow == Overflow::certified) weights.norms = column_norms(s, t.dense, kernels_, threads, t.prefix);
}

void Convolution::pack(const TensorView& weight, const Steps& steps) {
  const int threads = num_threads();
  Arena count;
  for (const Shape& s : shapes_) keep(count, s);
  AlignedBuffer kept(count.used());
  std::vector<Norms> norms;
  Arena scratch_count;
  lay_out(scratch_count, threads);
  const ScopedWorkspace memory(scratch_count.used());
  Arena scratch(static_cast<char*>(memory.data()));
  Scratch t = lay_out(scratch, threads);
  int32_t exponent = 0;
  if (!steps.inverse) quantisation_of(weight, 15, "weight", kernels_, threads, t.partial, &exponent, 1);
  float factor[2];
  factors_of(exponent, factor);
  Values w;
  w.data = weight.data;
  w.steps = steps;
  Arena arena(static_cast<char*>(kept.data()));
  for (size_t i = 0; i < shapes_.size(); ++i) {
    Weights weights = keep(arena, shapes_[i]);
    make_weights(i, w, weight, factor, t, threads, weights);
    if (!tiles_ && !lines_)
      for (Form form : {Form::pairs, Form::digits})
        dfp16::pack(shapes_[i], form, t.dense, kernels_, threads, t.room,
                    form == Form::pairs ? weights.pairs : weights.digits);
    norms.push_back(weights.norms);
  }
  kept_ = std::move(kept);
  kept_norms_ = std::move(norms);
  kept_exponent_ = exponent;
}

void Convolution::run_phase(size_t phase, const Call& call, Scratch& t, const Weights& weights, bool ready, int threads,
                            Report& report) const {
  const Shape& s = shapes_[phase];
  const bool grad_weight = s.grad_weight;
  Options options = options_;
  const Values& source = grad_weight ? call.b : call.a;
  if (grad_weight) std::swap(options.a_bits, options.b_bits);  // rows are of x, columns of the gradient
  fill_source(s, source, t.factors, !grad_weight && call.a_exponent_count > 1 ? 1 : 0, kernels_, threads, t.source);
  Form form = Form::tiles;
  int64_t segments = 0;
  report.algorithm = algorithm();
  report.terms = s.terms();
  if (lines_) {
    form = Form::lines;
    report.chain = s.terms();
    report.bound = std::max(report.bound, std::ldexp(double(s.terms()), options.a_bits + options.b_bits));
  } else if (!tiles_) {
    const Chain chain = choose_chain(s, options, t.source, weights.norms, kernels_, threads, t.prefix);
    form = chain.digits ? Form::digits : Form::pairs;
    segments = cut(s, chain.length, t.segments);
    report.digits = report.digits || chain.digits;
    report.chain = std::max(report.chain, chain.length);
    report.bound = std::max(report.bound, chain.bound);
    if (!ready) dfp16::pack(s, form, t.dense, kernels_, threads, t.room, weights.pairs);
  } else {
    report.chain = std::min<int64_t>(s.terms(), kMostTileSteps * kTileDepth);
    report.bound = std::max(report.bound, double(report.chain) * 32640.0);  // of the mixed products
  }
  Destination to;
  const conv::Operands& m = call.memory;
  const bool rows_are_weights = grad_weight;
  to.integer = call.out_integer;
  int64_t start = 0, residual_start = 0;
  if (rows_are_weights) {
    Phase whole;
    whole.problem = work_.problem;
    const conv::WeightView v = conv::weight_view(desc_, work_, whole, call.weight);
    start = v.offset;
    to.grid[0] = v.ci;
    std::copy(v.tap, v.tap + kAxes, to.grid + 1);
    to.column = v.co;
    to.group = v.group;
  } else {
    const Phase& part = work_.phases[phase];
    to.grid[0] = m.ys.n;
    to.residual_grid[0] = m.rs.n;
    to.column = m.ys.c;
    to.residual_column = m.rs.c;
    for (int axis = 0; axis < kAxes; ++axis) {
      start += part.start[axis] * m.ys.axis[axis];
      residual_start += part.start[axis] * m.rs.axis[axis];
      to.grid[1 + axis] = m.ys.axis[axis] * part.step[axis];
      to.residual_grid[1 + axis] = m.rs.axis[axis] * part.step[axis];
    }
    to.group = s.columns * to.column;
    to.residual_group = s.columns * to.residual_column;
    to.row_scale_step = call.a_exponent_count > 1 ? 1 : 0;
    to.bias = m.bias;
    to.scale = m.scale;
    to.residual = m.residual ? m.residual + residual_start : nullptr;
    to.activation = m.activation;
    to.negative_slope = m.negative_slope;
  }
  to.data = static_cast<char*>(call.out) + start * (call.out_integer ? 8 : 4);
  to.row_scale = t.row_scale;
  to.column_scale = (grad_weight ? call.a_exponent_count : call.b_exponent_count) > 1 ? t.column_scale : nullptr;
  to.largest = call.report && !call.out_integer ? t.largest : nullptr;
  const int16_t* packed = form == Form::lines    ? weights.dense
                          : form == Form::tiles  ? weights.tiles
                          : form == Form::digits ? weights.digits
                                                 : weights.pairs;
  const ProductArgs product{
      s,  form,     t.source, packed,  t.segments, segments, options.accumulate == Accumulate::fp32_spill,
      to, kernels_, tiles_,   threads, t.product};
  lines_ ? multiply_lines(product) : multiply(product);
}

// Every output as a sum of no terms.
void Convolution::write_empty(const Call& call, int threads) const {
  conv::Problem empty = work_.folded ? conv::padded_problem(work_.problem) : work_.problem;
  for (conv::Axis& axis : empty.axis) axis.out = axis.in;
  if (!call.out_integer) {
    conv::Operands m = call.memory;
    m.y = static_cast<float*>(call.out);
    return conv::fill_epilogue(empty, m, threads);
  }
  const conv::Strides& s = call.memory.ys;
  auto* y = static_cast<int64_t*>(call.out);
  parallel_for(empty.batch * empty.groups * empty.ci, threads, [&](int64_t task, int) {
    int64_t* plane = y + task / (empty.groups * empty.ci) * s.n + task % (empty.groups * empty.ci) * s.c;
    for (int64_t d = 0; d < empty.axis[0].in; ++d)
      for (int64_t h = 0; h < empty.axis[1].in; ++h)
        for (int64_t w = 0; w < empty.axis[2].in; ++w) plane[d * s.axis[0] + h * s.axis[1] + w * s.axis[2]] = 0;
  });
}

void Convolution::run(const Call& call, char* workspace, int threads) const {
  Arena arena(workspace);
  Scratch t = lay_out(arena, threads);
  const bool grad_weight = desc_.op == ConvOp::grad_weight, ready = packed() && !grad_weight;
  // a of the op: exponents for its images, or one; b: one exponent, or one for each column.
  const bool steps = call.a.steps.inverse != nullptr;
  int64_t count = call.a.integer ? call.a_exponent_count : grad_weight || steps ? 1 : work_.problem.batch;
  Call c = call;
  c.a_exponent_count = count;
  if (steps)
    t.exponents[0] = 0;
  else if (call.a.integer)
    std::copy_n(call.a_exponents, count > work_.problem.batch ? 1 : count, t.exponents);
  else
    quantisation_of(call.grad.defined() ? call.grad : call.x, 15, desc_.op == ConvOp::forward ? "x" : "grad", kernels_,
                    threads, t.partial, t.exponents, count);
  int32_t b_exponent = kept_exponent_;
  if (call.b.integer)
    b_exponent = call.b_exponents[0];
  else if (!ready)
    quantisation_of(grad_weight ? call.x : call.weight, 15, grad_weight ? "x" : "weight", kernels_, threads, t.partial,
                    &b_exponent, 1);
  float b_factor[2];
  factors_of(b_exponent, b_factor);
  if (steps) {
    t.row_scale[0] = call.a_scale * (call.b_exponent_count > 1 ? 1.0 : call.b_scales[0]);
    std::copy_n(call.b_scales, call.b_exponent_count, t.column_scale);
  } else if (grad_weight) {
    // Rows are of x (b), columns of the gradient (a), which may have an exponent for each.
    float a_factor[2];
    factors_of(t.exponents[0], a_factor);
    std::copy(b_factor, b_factor + 2, t.factors[0]);
    t.row_scale[0] = std::ldexp(1.0, b_exponent + (count > 1 ? 0 : t.exponents[0]));
    for (int64_t i = 0; i < count && count > 1; ++i) t.column_scale[i] = std::ldexp(1.0, call.a_exponents[i]);
    std::copy(a_factor, a_factor + 2, b_factor);  // of the dense matrix
  } else {
    for (int64_t n = 0; n < count; ++n) {
      factors_of(t.exponents[n], t.factors[n]);
      t.row_scale[n] = std::ldexp(1.0, t.exponents[n] + (call.b_exponent_count > 1 ? 0 : b_exponent));
    }
    for (int64_t i = 0; i < call.b_exponent_count && call.b_exponent_count > 1; ++i)
      t.column_scale[i] = std::ldexp(1.0, call.b_exponents[i]);
  }
  std::fill_n(t.largest, threads, 0);
  if (!work_.covered) write_empty(c, threads);
  Report report;
  Arena kept(static_cast<char*>(kept_.data()));
  for (size_t i = 0; i < shapes_.size(); ++i) {
    Weights weights = t.weights;
    if (ready) {
      weights = keep(kept, shapes_[i]);
      weights.norms = kept_norms_[i];
    }
    if (shapes_[i].rows() == 0) continue;
    if (!ready) make_weights(i, grad_weight ? c.a : c.b, c.weight, b_factor, t, threads, weights);
    run_phase(i, c, t, weights, ready, threads, report);
  }
  report.certified = options_.overflow != Overflow::unchecked && (lines_ || report.bound <= kMostSum);
  report.largest = *std::max_element(t.largest, t.largest + threads);
  if (call.report) *call.report = report;
}

}  // namespace omniconv::dfp16
