// fft/gradient.cpp -- the step back of rows: transforms shared by the gradients of inputs, gates and kernels
//
// Where y[o] sums w[l] v[t0 + o - l], dv[i] sums w[l] g[o] over the same triples (i, l, o), and dw[l] sums g[o] v[i].
// So a transform that holds whole rows without aliasing any of these triples serves all three: with V, G and W the
// values of v, g and w at the roots, which have absolute value 1, dv is G conj(W) and dw is G conj(V). `shared` below.
// Where it does not, in blocks and where rows are read past their ends, the map of the adjoint is cut into blocks
// instead: those of v do not overlap, and dw of the adjoint map, whose lags have the other sign, is V conj(G).
//
// Transforms per row: v, g, dv, and one more to have s again where nobody kept it; per kernel two.
#include <algorithm>
#include <utility>

#include "fft/backward.hpp"
#include "fft/plan.hpp"

namespace omniconv::fft {
namespace {

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

template <class T>
struct Backward<T>::Worker {
  const Backward& all;
  const BackwardRows<T>& r;
  const Engine<T>&forward, &adjoint;
  int threads;
  T *v_z, *g_z, *sum, *row, *lags;  // row: one of outputs, s and then its gradient
  T *spectrum_room, *adjoint_room;
  const T *spectrum = nullptr, *adjoint_spectrum = nullptr;
  const T *next_u = nullptr, *next_pre = nullptr;  // of the sample to come

  void run(int64_t ib, int64_t ic, int64_t ih) const {
    const T *u = r.u.row(ib, ic, ih), *pre = r.pre.row(ib, ic, ih), *post = r.post.row(ib, ic, ih);
    const T *grad = r.grad.row(ib, ic, ih), *s = r.sums.row(ib, ic, ih);
    T* dpost = r.dpost.row(ib, ic, ih);
    const int64_t outputs = forward.map().out;
    const bool active = r.activation != Activation::none, again = r.needs_sums() && !s;
    Touch<T> coming{};
    if (again || (all.shared_ && r.taps())) {
      StoreArgs<T> out{};
      out.y = active ? row : dpost;
      out.post = active ? nullptr : grad;  // dpost = grad * s
      if (r.skip.data) {
        out.u = u;
        out.pre = pre;
        out.skip = *r.skip.row(ib, ic, ih);
      }
      out.bias = r.bias.data ? *r.bias.row(ib, ic, ih) : T(0);
      if (brief()) coming = {{grad, post}, dpost, outputs};
      values(u, pre, out, again, coming);
      if (again && active) s = row;
    }
    const int64_t line = (ib * r.kernels + ic) * r.channels + ih;
    EpilogueArgs<T> e{outputs,
                      s,
                      grad,
                      post,
                      active ? row : nullptr,
                      s ? dpost : nullptr,
                      u,
                      pre,
                      r.activation,
                      T(r.negative_slope),
                      r.dskip ? r.dskip + line : nullptr,
                      r.dbias ? r.dbias + line : nullptr};
    if (e.ds || e.dpost || e.dskip || e.dbias) {
      if (sizeof(T) == 8 && active)
        epilogue_row(e);
      else
        forward.kernels().epilogue(e);
    }
    if (!r.inputs() && !r.taps()) return;
    const T *g = active ? row : grad, *gate = active ? nullptr : post;
    StoreArgs<T> out{};
    T *du = r.du.row(ib, ic, ih), *dpre = r.dpre.row(ib, ic, ih);
    out.y = du ? du : dpre;
    out.post = du ? pre : u;
    out.y2 = du ? dpre : nullptr;
    out.post2 = u;
    if (r.skip.data) {
      out.u = g;
      out.pre = gate;
      out.skip = *r.skip.row(ib, ic, ih);
    }
    coming = {};
    if (brief()) {
      coming = {{out.y2, nullptr}, out.y, forward.map().in};
      out.touch = {{next_u, next_pre}, nullptr, forward.map().in};
    }
    if (all.shared_)
      whole(g, gate, out, coming);
    else if (adjoint.direct())
      sums_of_products(g, gate, u, pre, out);
    else
      blocks(g, gate, u, pre, out);
  }

  // Rows that are fetched one pass before they are used; see Touch.
  bool brief() const {
    return all.shared_ && std::max(forward.map().in, forward.map().out) * int64_t(sizeof(T)) <= kShortBytes;
  }

  // Transforms of the kernel of (b, c, h), unless they are there.
  void prepare(int64_t ib, int64_t ic, int64_t ih) {
    const int64_t kernel = ((r.per_sample ? ib : ic) * r.channels) + ih;
    const auto make = [&](const Engine<T>& e, FftDirection direction, T* to) {
      gather_lags(*r.desc, forward.map(), r.k, r.k_reverse, direction, kernel, e.lag_factor(), lags);
      e.transform(lags, v_z, to, threads);
      return to;
    };
    spectrum = r.spectrum.row(ib, ic, ih);
    if (all.needs_spectrum() && !spectrum) spectrum = make(forward, FftDirection::forward, spectrum_room);
    if (all.needs_adjoint()) adjoint_spectrum = make(adjoint, FftDirection::adjoint, adjoint_room);
  }

  // The sum over samples to the kernel's gradients.
  void finish(int64_t kernel) const {
    const Engine<T>& e = all.last();
    const int64_t count = e.map().span() + 1;
    if (e.direct())
      std::copy(sum, sum + count, lags);
    else
      transform_back(e, count);
    if (!all.shared_) std::reverse(lags, lags + count);
    put_taps(*r.desc, forward.map(), r.dk, false, kernel, lags);
    put_taps(*r.desc, forward.map(), r.dk_reverse, true, kernel, lags);
  }

  // The sum to lags.
  void transform_back(const Engine<T>& e, int64_t count) const {
    const Team<T> team = e.team(threads);
    const int64_t n = 2 * e.geometry().points;
    team.walk(team.kernels.inverse, sum);
    StoreArgs<T> out{};
    out.transform = &team.t;
    out.z = sum;
    out.last = n;
    out.y = v_z;
    team.store(out);
    const T factor = e.lag_factor();
    const int64_t first = e.map().lo - e.geometry().origin, wrapped = std::clamp<int64_t>(-first, 0, count);
    for (int64_t i = 0; i < wrapped; ++i) lags[i] = -factor * v_z[first + i + n];
    for (int64_t i = wrapped; i < count; ++i) lags[i] = factor * v_z[first + i];
  }

  // v_z is the transform of v afterwards, if shared and needed; and where `again`, out is written.
  void values(const T* u, const T* pre, StoreArgs<T> out, bool again, const Touch<T>& coming) const {
    const Geometry& f = forward.geometry();
    if (forward.direct()) {
      for (int64_t block = 0; block < f.blocks; ++block) {
        out.first = block * f.step;
        out.last = std::min(forward.map().out, out.first + f.step);
        forward.convolve({nullptr, forward.source(u, pre, block), v_z, 0, 0, {}}, out, spectrum, 1);
      }
      return;
    }
    const Team<T> team = forward.team(threads);
    T* z = again ? g_z : v_z;
    out.transform = &team.t;
    out.z = z;
    for (int64_t block = 0; block < f.blocks; ++block) {
      team.load({&team.t, forward.source(u, pre, block), z, 0, 0, coming});
      if (!again) return team.walk(team.kernels.forward, z);
      if (all.shared_ && r.taps())
        team.walk(team.kernels.convolve_keep, z, spectrum, v_z);
      else
        team.walk(team.kernels.convolve, z, spectrum);
      out.first = block * f.step;
      out.last = std::min(forward.map().out, out.first + f.step);
      out.shift = f.shift - block * f.step;
      team.store(out);
    }
  }

  void whole(const T* g, const T* gate, StoreArgs<T> out, const Touch<T>& coming) const {
    const Team<T> team = forward.team(threads);
    const Geometry& f = forward.geometry();
    team.load({&team.t, {g, gate, forward.map().out, -f.shift, 0, 0}, g_z, 0, 0, coming});
    if (!r.inputs()) {
      team.walk(team.kernels.forward, g_z);
      return team.correlate(g_z, v_z, sum);
    }
    if (r.taps())
      team.walk(team.kernels.backward, g_z, spectrum, v_z, sum);
    else
      team.walk(team.kernels.convolve_conj, g_z, spectrum);
    out.transform = &team.t;
    out.z = g_z;
    out.last = forward.map().in;
    out.shift = -f.first;
    team.store(out);
  }

  void sums_of_products(const T* g, const T* gate, const T* u, const T* pre, StoreArgs<T> out) const {
    const Geometry& a = adjoint.geometry();
    for (int64_t block = 0; block < a.blocks; ++block) {
      const int64_t from = block * a.step, to = std::min(adjoint.map().out, from + a.step);
      const Source<T> source = adjoint.source(g, gate, block);
      out.first = from;
      out.last = to;
      if (r.inputs()) adjoint.convolve({nullptr, source, g_z, 0, 0, {}}, out, adjoint_spectrum, 1);
      if (r.taps())
        adjoint.kernels().direct_taps(
            {source, {u + from, pre ? pre + from : nullptr, to - from, 0, 0, 0}, to - from, a.taps, g_z, v_z, sum});
    }
  }

  void blocks(const T* g, const T* gate, const T* u, const T* pre, StoreArgs<T> out) const {
    const Team<T> team = adjoint.team(threads);
    const Geometry& a = adjoint.geometry();
    out.transform = &team.t;
    out.z = g_z;
    for (int64_t block = 0; block < a.blocks; ++block) {
      const int64_t from = block * a.step, to = std::min(adjoint.map().out, from + a.step);
      if (r.taps()) {
        team.load({&team.t, {u + from, pre ? pre + from : nullptr, to - from, -a.shift, 0, 0}, v_z, 0, 0});
        team.walk(team.kernels.forward, v_z);
      }
      team.load({&team.t, adjoint.source(g, gate, block), g_z, 0, 0});
      if (!r.inputs()) {
        team.walk(team.kernels.forward, g_z);
        team.correlate(v_z, g_z, sum);
        continue;
      }
      if (r.taps())
        team.walk(team.kernels.backward_adjoint, g_z, adjoint_spectrum, v_z, sum);
      else
        team.walk(team.kernels.convolve, g_z, adjoint_spectrum);
      out.first = from;
      out.last = to;
      out.shift = a.shift - from;
      team.store(out);
    }
  }
};

template <class T>
Backward<T>::Backward(const Engine<T>& forward, const Engine<T>& adjoint, const BackwardRows<T>& rows)
    : forward_(forward), adjoint_(adjoint), rows_(rows) {
  shared_ = !forward.direct() && forward.geometry().blocks == 1 && adjoint.geometry().blocks == 1 &&
            !forward.map().circular && forward.geometry().first == 0;
}

template <class T>
int64_t Backward<T>::tasks() const {
  return rows_.kernels * rows_.channels * (rows_.per_sample ? rows_.batch : 1);
}

// Into how many sums the samples of one kernel are divided: few kernels would leave threads idle. What the problem
// says, not the threads; and one where a row is work for several threads.
template <class T>
int64_t Backward<T>::parts() const {
  if (rows_.per_sample || last().z_bytes() >= kTogetherBytes || tasks() >= 16) return 1;
  return std::min(rows_.batch, (16 + tasks() - 1) / tasks());
}

template <class T>
size_t Backward<T>::z_bytes() const {
  return std::max(forward_.z_bytes(), adjoint_.z_bytes());
}
// v_z, g_z, a sum, two spectra, a row of outputs and one of lags.
template <class T>
size_t Backward<T>::thread_bytes() const {
  const int rooms = 3 + (needs_spectrum() && !rows_.spectrum.data) + needs_adjoint();
  return size_t(rooms) * z_bytes() + aligned(size_t(forward_.map().out + forward_.map().span() + 1) * sizeof(T));
}
template <class T>
size_t Backward<T>::workspace_bytes(int threads) const {
  return size_t(threads) * thread_bytes() +
         (parts() > 1 ? size_t(tasks() * parts() * last().spectrum_items()) * sizeof(T) : 0);
}

template <class T>
typename Backward<T>::Worker Backward<T>::worker(char* memory, int threads) const {
  const auto next = [&](size_t bytes) { return reinterpret_cast<T*>(std::exchange(memory, memory + bytes)); };
  Worker w{*this, rows_, forward_, adjoint_, threads, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
  for (T** z : {&w.v_z, &w.g_z, &w.sum}) *z = next(z_bytes());
  if (needs_spectrum() && !rows_.spectrum.data) w.spectrum_room = next(z_bytes());
  if (needs_adjoint()) w.adjoint_room = next(z_bytes());
  w.row = next(size_t(forward_.map().out) * sizeof(T));
  w.lags = next(0);
  return w;
}

template <class T>
void Backward<T>::run(char* workspace, int threads) const {
  const int64_t parts = this->parts(), tasks = this->tasks(), samples = rows_.per_sample ? 1 : rows_.batch;
  const size_t each = thread_bytes();
  T* kept = parts > 1 ? reinterpret_cast<T*>(workspace + size_t(threads) * each) : nullptr;
  const int64_t items = last().spectrum_items();
  const auto one = [&](int64_t task, char* memory, int team) {
    Worker w = worker(memory, team);
    const int64_t kernel = task / parts, part = task % parts;
    if (kept) w.sum = kept + task * items;
    if (rows_.taps()) std::fill(w.sum, w.sum + items, T(0));
    const int64_t ih = kernel % rows_.channels, ic = rows_.per_sample ? 0 : kernel / rows_.channels;
    const int64_t first = rows_.per_sample ? kernel / rows_.channels : samples * part / parts;
    const int64_t end = rows_.per_sample ? first + 1 : samples * (part + 1) / parts;
    w.prepare(first, ic, ih);
    for (int64_t ib = first; ib < end; ++ib) {
      const bool more = ib + 1 < end;  // else the first sample of the next channel, if this thread gets it
      const int64_t nh = more ? ih : std::min(ih + 1, rows_.channels - 1), nb = more ? ib + 1 : first;
      w.next_u = rows_.u.row(nb, ic, nh);
      w.next_pre = rows_.pre.row(nb, ic, nh);
      w.run(ib, ic, ih);
    }
    if (rows_.taps() && !kept) w.finish(kernel);
  };
  if (tasks < threads && last().z_bytes() >= kTogetherBytes) {
    for (int64_t task = 0; task < tasks; ++task) one(task, workspace, threads);
    return;
  }
  parallel_for(tasks * parts, threads, [&](int64_t task, int worker) { one(task, workspace + worker * each, 1); });
  if (!kept || !rows_.taps()) return;
  parallel_for(tasks, threads, [&](int64_t kernel, int index) {
    Worker w = worker(workspace + index * each, 1);
    w.sum = kept + kernel * parts * items;
    for (int64_t part = 1; part < parts; ++part)
      for (int64_t i = 0; i < items; ++i) w.sum[i] += w.sum[part * items + i];
    w.finish(kernel);
  });
}

template class Backward<float>;
template class Backward<double>;

}  // namespace omniconv::fft
