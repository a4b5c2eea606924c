// fft/plan.cpp -- describe, plan, transform, run: checks, choice of algorithm, arrays as rows
#include "fft/plan.hpp"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <utility>

#include "reference/conv.hpp"
#include "reference/fft.hpp"

namespace omniconv {

using namespace fft;

namespace {

constexpr double kSecondsPerUnit = 2e-10;  // of transform_cost: a core of 2.5 GHz, half a cycle

size_t item_size(DType dtype) { return dtype == DType::float32 ? 4 : 8; }

// Every algorithm, best first; the reference last.
std::vector<AlgorithmInfo> survey(const FftConvDesc& desc, const Map& map) {
  const fft::AllKernels& k = fft::kernels();
  const int size = int(item_size(desc.dtype)), lanes = desc.dtype == DType::float32 ? k.f32.lanes : k.f64.lanes;
  const Geometry blocks = fft::block_geometry(map, lanes, size);
  const int64_t taps = map.span() + 1;
  const auto info = [&](const char* name, bool usable, const char* too_many, double cost) {
    std::string reason = usable ? "" : "the kernel has " + std::to_string(taps) + " taps, " + too_many;
    if (desc.halvings && name != std::string(kWhole)) return AlgorithmInfo{name, false, "rows have a lower rate", 0, 0};
    return AlgorithmInfo{name, usable, reason, 0, usable ? cost : 0};
  };
  const double whole = fft::geometry_cost(fft::whole_geometry(map, lanes), lanes, size) +
                       fft::rate_cost(desc.dtype, desc.length, desc.keep, desc.halvings, lanes);
  std::vector<AlgorithmInfo> all = {info(kDirect, taps <= kMaxDirectTaps, "too many for sums of products",
                                         fft::direct_cost(map, lanes) * kSecondsPerUnit),
                                    info(kWhole, true, "", whole * kSecondsPerUnit),
                                    info(kBlocks, blocks.points > 0, "too many for a block that fits a cache",
                                         fft::geometry_cost(blocks, lanes, size) * kSecondsPerUnit),
                                    info(kReference, true, "", double(map.out) * double(taps) * 1e-9)};
  std::stable_sort(all.begin(), all.end() - 1, [](const AlgorithmInfo& a, const AlgorithmInfo& b) {
    return a.usable != b.usable ? a.usable : a.usable && a.cost < b.cost;
  });
  return all;
}

}  // namespace

// ---- spectra -------------------------------------------------------------------------------------------------------

namespace {

struct Kept {
  std::mutex mutex;
  AlignedBuffer buffer;
};
Kept& kept() {
  static Kept* all = new Kept;  // never destroyed: spectra may outlive it
  return *all;
}

}  // namespace

fft::SpectrumMemory::SpectrumMemory(size_t bytes) : bytes_(bytes) {
  {
    const std::lock_guard lock(kept().mutex);
    if (kept().buffer.size() >= bytes && kept().buffer.size() <= 2 * bytes) buffer_ = std::exchange(kept().buffer, {});
  }
  if (!buffer_.data()) buffer_ = AlignedBuffer(bytes);
}
fft::SpectrumMemory::~SpectrumMemory() {
  if (!buffer_.data() || buffer_.size() > Workspace::kKeptBytes) return;
  AlignedBuffer old = std::move(buffer_);
  const std::lock_guard lock(kept().mutex);
  std::swap(old, kept().buffer);
}

FftSpectrum::FftSpectrum(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FftSpectrum::~FftSpectrum() = default;
FftSpectrum::FftSpectrum(FftSpectrum&&) noexcept = default;
FftSpectrum& FftSpectrum::operator=(FftSpectrum&&) noexcept = default;
const std::vector<int64_t>& FftSpectrum::rows() const { return impl_->rows; }
FftDirection FftSpectrum::direction() const { return impl_->direction; }
bool FftSpectrum::per_sample() const { return impl_->per_sample; }
size_t FftSpectrum::bytes() const { return impl_->data.size(); }

int fft_halvings(DType dtype, int64_t length, double keep) {
  const fft::AllKernels& k = fft::kernels();
  return fft::best_halvings(dtype, length, keep, dtype == DType::float32 ? k.f32.lanes : k.f64.lanes);
}
int64_t fft_lower_rate_length(DType dtype, int64_t length, double keep, int halvings) {
  return fft::rate_levels(dtype, length, keep, halvings).back().count();
}

// ---- plans ---------------------------------------------------------------------------------------------------------

template <class T>
Engines<T> FftConvPlan::Impl::engines() const {
  const fft::Kernels<T>& k = fft::kernels_of<T>(fft::kernels());
  const Map back = map.adjoint();
  if (reference()) return {{map, {}, k}, {back, {}, k}};
  const auto geometry = [&](const Map& m) {
    if (algorithm == kDirect) return fft::direct_geometry(m, int(sizeof(T)));
    return algorithm == kWhole ? fft::whole_geometry(m, k.lanes) : fft::block_geometry(m, k.lanes, int(sizeof(T)));
  };
  std::shared_ptr<const Rate<T>> rate;
  if (desc.halvings) rate = std::make_shared<const Rate<T>>(desc, k);
  return {{map, geometry(map), k, rate}, {back, geometry(back), k, rate}};
}

FftConvPlan::Impl::Impl(const FftConvDesc& d) : desc(d) {
  infos = survey(desc, map);
  const auto found = std::find_if(infos.begin(), infos.end(), [&](const auto& i) { return i.name == desc.algorithm; });
  if (desc.algorithm == "auto") {
    algorithm = infos.front().name;
  } else if (found == infos.end()) {
    invalid("algorithm is '" + desc.algorithm + "'; allowed are 'auto', 'direct', 'fft', 'overlap_save', 'reference'");
  } else if (!found->usable) {
    throw Error(Code::not_supported, "algorithm '" + desc.algorithm + "' cannot run this problem: " + found->reason);
  } else {
    algorithm = found->name;
  }
  if (desc.dtype == DType::float32)
    f32.emplace(engines<float>());
  else
    f64.emplace(engines<double>());
}

template <class T>
void FftConvPlan::Impl::transform(const TensorView& k, const TensorView& reverse, FftSpectrum::Impl& to) const {
  int64_t count = 1;
  for (int64_t n : to.rows) count *= n;
  const Engine<T>& e = engine<T>(to.direction);
  to.items = reference() ? desc.taps + desc.reverse_taps : e.spectrum_items();
  if (count > 0 && to.items > int64_t(std::numeric_limits<int64_t>::max() / 64) / count)
    invalid("k of shape " + shape_of(k) + " is too large: its spectrum does not fit the address space");
  to.data = SpectrumMemory(size_t(count) * to.items * sizeof(T));
  T* data = static_cast<T*>(to.data.data());
  const int last = k.ndim - 1;
  if (reference()) {
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t j = 0; j < desc.taps; ++j) data[i * to.items + j] = kernel_row<T>(k, i)[j * k.strides[last]];
      for (int64_t j = 0; j < desc.reverse_taps; ++j)
        data[i * to.items + desc.taps + j] = kernel_row<T>(reverse, i)[j * reverse.strides[last]];
    }
    return;
  }
  const int threads = int(std::min<int64_t>(num_threads(), std::max<int64_t>(count, 1)));
  const int64_t span = map.span();
  const size_t lag_items = size_t(span + 1 + 15) / 16 * 16;
  const size_t each = (lag_items + e.spectrum_items()) * sizeof(T);
  const AlignedBuffer memory(each * threads);
  parallel_for(count, threads, [&](int64_t i, int worker) {
    T* lags = reinterpret_cast<T*>(static_cast<char*>(memory.data()) + worker * each);
    T* room = lags + lag_items;
    gather_lags(desc, map, k, reverse, to.direction, i, e.lag_factor(), lags);
    e.transform(lags, room, data + i * to.items);
  });
}

void FftConvPlan::Impl::check(const FftSpectrum::Impl& s, const FftConvOperands& o) const {
  if (s.plan != this) invalid("k is a spectrum of another plan");
  const bool forward = s.direction == FftDirection::forward, wide = s.rows.size() == 2 && !s.per_sample;
  const char* u_name = forward ? "u" : "grad";
  if (!o.u.defined()) invalid(std::string(u_name) + " is missing");
  const bool four = wide && !forward;
  if (o.u.ndim != (four ? 4 : 3))
    invalid(std::string(u_name) + " has shape " + shape_of(o.u) + "; expected are " +
            (four ? "four axes, [B, C, H, L]" : "three axes, [B, H, L]"));
  const int64_t channels = s.rows.back(), batch = s.per_sample ? s.rows[0] : o.u.shape[0];
  // [B, C, H, L], of which the arrays of a problem without kernels axis leave out C. Nothing here may allocate.
  const int64_t kernels = wide ? s.rows[0] : 1;
  const int64_t in4[] = {batch, kernels, channels, inputs(s.direction)}, in3[] = {batch, channels, in4[3]};
  const int64_t out4[] = {batch, kernels, channels, outputs(s.direction)}, out3[] = {batch, channels, out4[3]};
  const std::span<const int64_t> in = four ? std::span<const int64_t>(in4) : in3;
  const std::span<const int64_t> out = wide ? std::span<const int64_t>(out4) : out3;
  const std::span<const int64_t> per(wide ? out4 + 1 : out4 + 2, wide ? 2 : 1);
  check_rows(u_name, o.u, desc.dtype, in);
  check_rows("out", o.out, desc.dtype, out);
  if (o.pre_gate.defined()) check_rows("pre_gate", o.pre_gate, desc.dtype, in);
  if (o.post_gate.defined()) check_rows("post_gate", o.post_gate, desc.dtype, out);
  if (o.out2.defined()) check_rows("out2", o.out2, desc.dtype, out);
  if (o.post_gate2.defined()) check_rows("post_gate2", o.post_gate2, desc.dtype, out);
  if (o.skip.defined()) {
    check_rows("skip", o.skip, desc.dtype, per);
    if (map.in != map.out)
      invalid("skip needs as many outputs as inputs: there are " + std::to_string(map.out) + " and " +
              std::to_string(map.in));
  }
  if (o.bias.defined()) check_rows("bias", o.bias, desc.dtype, per);
  for (int i = 0; i < o.out.ndim; ++i)
    if (o.out.strides[i] == 0 && o.out.shape[i] > 1 && o.out.size() > 0)
      invalid("out has stride 0: its elements overlap");
  if (o.out2.defined()) conv::check_apart(o.out2, "out", o.out);
  for (const TensorView* y : {&o.out, &o.out2}) {
    if (!y->defined()) continue;
    conv::check_apart(*y, u_name, o.u);
    conv::check_apart(*y, "pre_gate", o.pre_gate);
    conv::check_apart(*y, "post_gate", o.post_gate);
    conv::check_apart(*y, "post_gate2", o.post_gate2);
    conv::check_apart(*y, "skip", o.skip);
    conv::check_apart(*y, "bias", o.bias);
  }
}

template <class T>
void FftConvPlan::Impl::run_reference(const Rows<T>& rows, FftDirection direction, char* workspace, int threads) const {
  const int64_t in = inputs(direction), out = outputs(direction);
  const size_t each = workspace_bytes<T>(1, false);
  parallel_for(rows.batch * rows.kernels * rows.channels, threads, [&](int64_t task, int worker) {
    double* sums = reinterpret_cast<double*>(workspace + worker * each);
    T* v = reinterpret_cast<T*>(sums + map.in + map.out);
    const int64_t h = task % rows.channels, c = task / rows.channels % rows.kernels,
                  b = task / rows.channels / rows.kernels;
    const T *u = rows.u.row(b, c, h), *pre = rows.pre.row(b, c, h), *k = rows.spectrum.row(b, c, h);
    for (int64_t t = 0; t < in; ++t) v[t] = pre ? u[t * rows.u.t] * pre[t * rows.pre.t] : u[t * rows.u.t];
    const T* reverse = desc.reverse_taps ? k + desc.taps : nullptr;
    if (direction == FftDirection::forward)
      reference::fft_conv_row(desc, v, k, reverse, sums);
    else
      reference::fft_conv_row_adjoint(desc, v, k, reverse, sums);
    const double skip = rows.skip.data ? *rows.skip.row(b, c, h) : 0,
                 bias = rows.bias.data ? *rows.bias.row(b, c, h) : 0;
    T *y = rows.y.row(b, c, h), *y2 = rows.y2.row(b, c, h);
    const T *post = rows.post.row(b, c, h), *post2 = rows.post2.row(b, c, h);
    for (int64_t o = 0; o < out; ++o) {
      double s = sums[o] + bias;
      if (rows.skip.data) s += skip * double(v[o]);
      if (y2) y2[o * rows.y2.t] = T(post2 ? s * double(post2[o * rows.post2.t]) : s);
      s = reference::activate(rows.activation, s, rows.negative_slope);
      y[o * rows.y.t] = T(post ? s * double(post[o * rows.post.t]) : s);
    }
  });
}

template <class T>
void FftConvPlan::Impl::run(const FftSpectrum::Impl& s, const FftConvOperands& o, char* workspace, int threads) const {
  Rows<T> rows;
  const bool wide = s.rows.size() == 2 && !s.per_sample;
  rows.batch = o.u.shape[0];
  rows.channels = s.rows.back();
  rows.kernels = wide ? s.rows[0] : 1;
  if (rows.batch == 0 || rows.channels == 0 || rows.kernels == 0) return;
  rows.u = rows_of<T>(o.u);
  rows.pre = rows_of<T>(o.pre_gate);
  rows.post = rows_of<T>(o.post_gate);
  rows.post2 = rows_of<T>(o.post_gate2);
  rows.y = writable<T>(o.out);
  rows.y2 = writable<T>(o.out2);
  rows.skip = channels_of<T>(o.skip);
  rows.bias = channels_of<T>(o.bias);
  const int64_t each = s.items * rows.channels;
  rows.spectrum = {static_cast<const T*>(s.data.data()), s.per_sample ? each : 0, wide ? each : 0, s.items, 1};
  rows.activation = o.activation;
  rows.negative_slope = o.negative_slope;
  if (reference()) return run_reference(rows, s.direction, workspace, threads);
  engine<T>(s.direction).run(rows, workspace, threads);
}

// ---- the public face -----------------------------------------------------------------------------------------------

int64_t fft_conv_output_length(const FftConvDesc& desc) { return fft::make_map(desc).out; }

std::vector<AlgorithmInfo> fft_conv_algorithms(const FftConvDesc& desc) { return survey(desc, fft::map_of(desc)); }

FftConvPlan::FftConvPlan(const FftConvDesc& desc) : impl_(std::make_shared<const Impl>(desc)) {}
FftConvPlan::~FftConvPlan() = default;
FftConvPlan::FftConvPlan(FftConvPlan&&) noexcept = default;
FftConvPlan& FftConvPlan::operator=(FftConvPlan&&) noexcept = default;

FftSpectrum FftConvPlan::transform(const TensorView& k, const TensorView& reverse, bool per_sample,
                                   FftDirection direction) const {
  const FftConvDesc& d = impl_->desc;
  if (k.ndim != 2 && k.ndim != 3)
    invalid("k has shape " + shape_of(k) + "; expected are [H, K], [C, H, K] or [B, H, K]");
  if (per_sample && k.ndim != 3) invalid("k has shape " + shape_of(k) + "; kernels per sample are [B, H, K]");
  std::vector<int64_t> shape(k.shape.begin(), k.shape.begin() + k.ndim);
  const std::vector<int64_t> rows(shape.begin(), shape.end() - 1);
  shape.back() = d.taps;
  check_rows("k", k, d.dtype, shape);
  if (d.reverse_taps) {
    shape.back() = d.reverse_taps;
    check_rows("k_rev", reverse, d.dtype, shape);
  } else if (reverse.defined()) {
    invalid("k_rev is given to a plan without reverse taps");
  }
  auto to = std::make_unique<FftSpectrum::Impl>(FftSpectrum::Impl{rows, direction, per_sample, 0, {}, impl_.get()});
  if (d.dtype == DType::float32)
    impl_->transform<float>(k, reverse, *to);
  else
    impl_->transform<double>(k, reverse, *to);
  return FftSpectrum(std::move(to));
}

namespace {

bool strided(const FftConvOperands& o) {
  for (const TensorView* v : {&o.u, &o.out, &o.pre_gate, &o.post_gate, &o.out2, &o.post_gate2})
    if (v->defined() && rows_of<char>(*v).strided()) return true;
  return false;
}

}  // namespace

void FftConvPlan::run(const FftSpectrum& spectrum, const FftConvOperands& o) const {
  impl_->check(*spectrum.impl_, o);  // before memory is taken
  const int threads = num_threads();
  const size_t bytes = impl_->workspace_bytes(threads, strided(o));
  const ScopedWorkspace memory(bytes);
  run(spectrum, o, memory.data(), bytes);
}

void FftConvPlan::run(const FftSpectrum& spectrum, const FftConvOperands& o, void* workspace, size_t bytes) const {
  impl_->check(*spectrum.impl_, o);
  int threads = num_threads();
  const bool apart = strided(o);
  while (threads > 1 && impl_->workspace_bytes(threads, apart) > bytes) --threads;
  if (!workspace || impl_->workspace_bytes(threads, apart) > bytes)
    invalid("workspace has " + std::to_string(bytes) + " bytes; needed are " +
            std::to_string(impl_->workspace_bytes(1, apart)));
  if (impl_->desc.dtype == DType::float32)
    impl_->run<float>(*spectrum.impl_, o, static_cast<char*>(workspace), threads);
  else
    impl_->run<double>(*spectrum.impl_, o, static_cast<char*>(workspace), threads);
}

const FftConvDesc& FftConvPlan::desc() const { return impl_->desc; }
int64_t FftConvPlan::output_length() const { return impl_->outputs(FftDirection::forward); }
const std::string& FftConvPlan::algorithm() const { return impl_->algorithm; }
size_t FftConvPlan::workspace_bytes(bool strided) const { return impl_->workspace_bytes(num_threads(), strided); }
int64_t FftConvPlan::transform_length() const {
  if (impl_->f32) return 2 * impl_->f32->forward.geometry().points;
  return 2 * impl_->f64->forward.geometry().points;
}

std::string FftConvPlan::explain() const {
  const Impl& p = *impl_;
  char text[160];
  std::snprintf(text, sizeof(text), "fft_conv: rows of %lld, %lld taps to %lld outputs, %s\n",
                (long long)p.inputs(FftDirection::forward), (long long)p.desc.taps,
                (long long)p.outputs(FftDirection::forward), name(p.desc.dtype));
  std::string all = text;
  for (const AlgorithmInfo& i : p.infos) {
    std::snprintf(text, sizeof(text), i.usable ? "  %-12s %.3g us a row" : "  %-12s", i.name.c_str(), i.cost * 1e6);
    all +=
        text + (i.usable ? std::string() : " declines: " + i.reason) + (i.name == p.algorithm ? "  <- runs\n" : "\n");
  }
  return all;
}

}  // namespace omniconv
