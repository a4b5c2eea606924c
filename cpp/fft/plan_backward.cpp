// fft/plan_backward.cpp -- gradients of a plan's operands: checks, packing, kernels from lags
#include "fft/backward.hpp"
#include "fft/plan.hpp"
#include "reference/fft.hpp"

namespace omniconv {

using namespace fft;

namespace {

// Copies rows of any strides, 16 at a time so that a cache line of channels is used whole.
template <class T>
void copy_rows(View<const T> from, View<T> to, int64_t b, int64_t c, int64_t h, int64_t t) {
  const int64_t groups = (h + 15) / 16;
  parallel_for(b * c * groups, [&](int64_t task, int) {
    const int64_t h0 = task % groups * 16, rows = std::min<int64_t>(16, h - h0);
    const int64_t ic = task / groups % c, ib = task / groups / c;
    const T* x = from.row(ib, ic, h0);
    T* y = to.row(ib, ic, h0);
    for (int64_t t0 = 0; t0 < t; t0 += 64)
      if (from.t == 1)
        for (int64_t i = t0; i < std::min(t, t0 + 64); ++i)
          for (int64_t r = 0; r < rows; ++r) y[r * to.h + i * to.t] = x[r * from.h + i];
      else
        for (int64_t i = t0; i < std::min(t, t0 + 64); ++i)
          for (int64_t r = 0; r < rows; ++r) y[r * to.h + i * to.t] = x[r * from.h + i * from.t];
  });
}

// An array as rows whose elements are adjacent: itself, or a copy, which put_back() brings home.
template <class T>
class Dense {
 public:
  Dense(const TensorView& v, bool read) : original_(rows_of<T>(v)), view_(original_) {
    if (!original_.strided()) return;
    const int last = v.ndim - 1;
    c_ = v.ndim == 4 ? v.shape[1] : 1;
    b_ = v.shape[0];
    h_ = v.shape[last - 1];
    t_ = v.shape[last];
    memory_ = AlignedBuffer(size_t(std::max<int64_t>(v.size(), 1)) * sizeof(T));
    view_ = {static_cast<T*>(memory_.data()), c_ * h_ * t_, v.ndim == 4 ? h_ * t_ : 0, t_, 1};
    if (read) copy_rows<T>(original_, out(), b_, c_, h_, t_);
  }
  View<const T> in() const { return view_; }
  View<T> out() const { return {const_cast<T*>(view_.data), view_.b, view_.c, view_.h, view_.t}; }
  void put_back() const {
    if (!original_.strided()) return;
    const View<T> home{const_cast<T*>(original_.data), original_.b, original_.c, original_.h, original_.t};
    copy_rows<T>(view_, home, b_, c_, h_, t_);
  }

 private:
  View<const T> original_, view_;
  int64_t b_ = 0, c_ = 0, h_ = 0, t_ = 0;
  AlignedBuffer memory_;
};

// Sums over samples, in their order, of what each row gave.
template <class T>
void put_sums(const TensorView& to, const std::vector<double>& rows, int64_t batch) {
  if (!to.defined()) return;
  const int64_t each = to.size(), inner = to.shape[to.ndim - 1];
  for (int64_t i = 0; i < each; ++i) {
    double sum = 0;
    for (int64_t b = 0; b < batch; ++b) sum += rows[size_t(b * each + i)];
    const int64_t at = (to.ndim == 2 ? i / inner * to.strides[0] : 0) + i % inner * to.strides[to.ndim - 1];
    static_cast<T*>(to.data)[at] = T(sum);
  }
}

}  // namespace

template <class T>
void FftConvPlan::Impl::backward(const FftConvBackward& o, const FftSpectrum* spectrum) const {
  const int last = o.grad.ndim - 1;
  BackwardRows<T> r;
  r.batch = o.u.shape[0];
  r.channels = o.u.shape[1];
  r.kernels = last == 3 ? o.grad.shape[1] : 1;
  r.per_sample = o.per_sample;
  const int64_t kernels = r.kernels * r.channels * (o.per_sample ? r.batch : 1);
  const size_t lines = size_t(r.batch * r.kernels * r.channels);
  if (lines == 0) {
    for (int64_t i = 0; i < kernels; ++i) {
      put_taps<T>(desc, map, o.dk, false, i, nullptr);
      put_taps<T>(desc, map, o.dk_reverse, true, i, nullptr);
    }
    put_sums<T>(o.dskip, {}, 0);
    put_sums<T>(o.dbias, {}, 0);
    return;
  }
  const Dense<T> u(o.u, true), pre(o.pre_gate, true), post(o.post_gate, true), grad(o.grad, true), sums(o.sums, true);
  const Dense<T> du(o.du, false), dpre(o.dpre_gate, false), dpost(o.dpost_gate, false);
  r.u = u.in();
  r.pre = pre.in();
  r.post = post.in();
  r.grad = grad.in();
  r.sums = sums.in();
  r.du = du.out();
  r.dpre = dpre.out();
  r.dpost = dpost.out();
  r.skip = channels_of<T>(o.skip);
  r.bias = channels_of<T>(o.bias);
  r.activation = o.activation;
  r.negative_slope = o.negative_slope;
  std::vector<double> dskip(o.dskip.defined() ? lines : 0), dbias(o.dbias.defined() ? lines : 0);
  if (o.dskip.defined()) r.dskip = dskip.data();
  if (o.dbias.defined()) r.dbias = dbias.data();
  r.desc = &desc;
  r.k = o.k;
  r.k_reverse = o.k_reverse;
  r.dk = o.dk;
  r.dk_reverse = o.dk_reverse;
  if (spectrum) {
    const int64_t each = spectrum->impl_->items * r.channels;
    r.spectrum = {static_cast<const T*>(spectrum->impl_->data.data()), o.per_sample ? each : 0,
                  r.kernels > 1 ? each : 0, spectrum->impl_->items, 1};
  }
  const Backward<T> step(engine<T>(FftDirection::forward), engine<T>(FftDirection::adjoint), r);
  if (step.needs_kernels() && (!o.k.defined() || (desc.reverse_taps > 0) != o.k_reverse.defined()))
    invalid("k or k_rev is missing");
  const int threads = num_threads();
  const ScopedWorkspace memory(step.workspace_bytes(threads));
  step.run(static_cast<char*>(memory.data()), threads);
  put_sums<T>(o.dskip, dskip, r.batch);
  put_sums<T>(o.dbias, dbias, r.batch);
  for (const Dense<T>* d : {&du, &dpre, &dpost}) d->put_back();
}

template <class T>
void FftConvPlan::Impl::reference_kernel_gradient(const TensorView& u, const TensorView& pre, const TensorView& grad,
                                                  const TensorView& dk, const TensorView& dr, bool per_sample) const {
  Rows<T> rows;
  rows.batch = u.shape[0];
  rows.channels = u.shape[1];
  rows.kernels = grad.ndim == 4 ? grad.shape[1] : 1;
  rows.u = rows_of<T>(u);
  rows.pre = rows_of<T>(pre);
  const View<const T> g = rows_of<T>(grad);
  const int64_t kernels = rows.kernels * rows.channels * (per_sample ? rows.batch : 1);
  const int threads = num_threads();
  const int64_t items = desc.taps + desc.reverse_taps;
  std::vector<double> sums(size_t(kernels) * items);
  parallel_for(kernels, threads, [&](int64_t task, int) {
    const int64_t h = task % rows.channels, c = task / rows.channels % rows.kernels;
    std::vector<T> v(map.in), d(map.out);
    for (int64_t b = 0; b < rows.batch; ++b) {
      if (per_sample && b != task / rows.channels) continue;
      const T *x = rows.u.row(b, c, h), *gate = rows.pre.row(b, c, h), *y = g.row(b, c, h);
      for (int64_t t = 0; t < map.in; ++t) v[t] = gate ? x[t * rows.u.t] * gate[t * rows.pre.t] : x[t * rows.u.t];
      for (int64_t t = 0; t < map.out; ++t) d[t] = y[t * g.t];
      reference::fft_conv_row_kernel(desc, v.data(), d.data(), &sums[task * items], &sums[task * items + desc.taps]);
    }
  });
  const auto put = [&](const TensorView& to, int64_t first) {
    for (int64_t i = 0; to.defined() && i < kernels; ++i)
      for (int64_t j = 0; j < to.shape[to.ndim - 1]; ++j)
        const_cast<T*>(kernel_row<T>(to, i))[j * to.strides[to.ndim - 1]] = T(sums[i * items + first + j]);
  };
  put(dk, 0);
  put(dr, desc.taps);
}

void FftConvPlan::backward(const FftConvBackward& o, const FftSpectrum* spectrum) const {
  const FftConvDesc& d = impl_->desc;
  if (o.u.ndim != 3) invalid("u has shape " + shape_of(o.u) + "; expected are three axes, [B, H, L]");
  if (o.grad.ndim != 3 && (o.grad.ndim != 4 || o.per_sample))
    invalid("grad has shape " + shape_of(o.grad) + "; expected is that of y");
  if (impl_->reference()) throw Error(Code::not_supported, "algorithm 'reference' has no step back of its own");
  if (d.halvings) throw Error(Code::not_supported, "a plan with halvings has no step back of its own");
  const int64_t batch = o.u.shape[0], channels = o.u.shape[1];
  std::vector<int64_t> in{batch, channels, impl_->map.in}, out{batch, channels, impl_->map.out}, k{channels, d.taps};
  std::vector<int64_t> each = in, per{channels};
  if (o.grad.ndim == 4) {
    for (std::vector<int64_t>* shape : {&out, &each}) shape->insert(shape->begin() + 1, o.grad.shape[1]);
    for (std::vector<int64_t>* shape : {&k, &per}) shape->insert(shape->begin(), o.grad.shape[1]);
  }
  if (o.per_sample) k.insert(k.begin(), batch);
  const auto check = [&](const char* name, const TensorView& v, const std::vector<int64_t>& shape) {
    if (v.defined()) check_rows(name, v, d.dtype, shape);
  };
  check_rows("u", o.u, d.dtype, in);
  check_rows("grad", o.grad, d.dtype, out);
  check("pre_gate", o.pre_gate, in);
  check("post_gate", o.post_gate, out);
  check("sums", o.sums, out);
  check("skip", o.skip, per);
  check("bias", o.bias, per);
  check("k", o.k, k);
  check("du", o.du, each);
  check("dpre_gate", o.dpre_gate, each);
  check("dpost_gate", o.dpost_gate, out);
  check("dskip", o.dskip, per);
  check("dbias", o.dbias, per);
  check("dk", o.dk, k);
  k.back() = d.reverse_taps;
  check("k_rev", o.k_reverse, k);
  check("dk_rev", o.dk_reverse, k);
  if ((o.skip.defined() || o.dskip.defined()) && impl_->map.in != impl_->map.out)
    invalid("skip needs as many outputs as inputs: there are " + std::to_string(impl_->map.out) + " and " +
            std::to_string(impl_->map.in));
  if (spectrum && (spectrum->impl_->plan != impl_.get() || spectrum->direction() != FftDirection::forward))
    invalid("k is a spectrum of another plan");
  if (d.dtype == DType::float32)
    impl_->backward<float>(o, spectrum);
  else
    impl_->backward<double>(o, spectrum);
}

void FftConvPlan::kernel_gradient(const TensorView& u, const TensorView& pre_gate, const TensorView& grad,
                                  const TensorView& dk, const TensorView& dreverse, bool per_sample) const {
  const FftConvBackward o{
      .u = u, .pre_gate = pre_gate, .grad = grad, .per_sample = per_sample, .dk = dk, .dk_reverse = dreverse};
  if (!impl_->reference()) return backward(o);
  if (impl_->desc.dtype == DType::float32)
    impl_->reference_kernel_gradient<float>(u, pre_gate, grad, dk, dreverse, per_sample);
  else
    impl_->reference_kernel_gradient<double>(u, pre_gate, grad, dk, dreverse, per_sample);
}

}  // namespace omniconv
