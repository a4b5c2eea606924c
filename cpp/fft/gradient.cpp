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
#include <cstring>

#include "fft/engine.hpp"

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
  T *v_z, *g_z, *sum, *row;  // row: one of outputs, s and then its gradient

  void run(int64_t ib, int64_t ic, int64_t ih) const {
    const T *u = r.u.row(ib, ic, ih), *pre = r.pre.row(ib, ic, ih), *post = r.post.row(ib, ic, ih);
    const T *grad = r.grad.row(ib, ic, ih), *s = r.sums.row(ib, ic, ih);
    T* dpost = r.dpost.row(ib, ic, ih);
    const int64_t outputs = forward.map().out;
    const bool active = r.activation != Activation::none, again = r.needs_sums() && !s;
    if (again || (all.shared_ && r.dlags)) {
      StoreArgs<T> out{};
      out.y = active ? row : dpost;
      out.post = active ? nullptr : grad;  // dpost = grad * s
      if (r.skip.data) {
        out.u = u;
        out.pre = pre;
        out.skip = *r.skip.row(ib, ic, ih);
      }
      out.bias = r.bias.data ? *r.bias.row(ib, ic, ih) : T(0);
      values(u, pre, r.spectrum.row(ib, ic, ih), out, again);
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
    if (!r.inputs() && !r.dlags) return;
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
    if (all.shared_)
      whole(g, gate, r.spectrum.row(ib, ic, ih), out);
    else
      blocks(g, gate, u, pre, r.adjoint.row(ib, ic, ih), out);
  }

  // v_z is the transform of v afterwards, if shared and needed; and where `again`, out is written.
  void values(const T* u, const T* pre, const T* spectrum, StoreArgs<T> out, bool again) const {
    const Team<T> team = forward.team(threads);
    const Geometry& f = forward.geometry();
    T* z = again ? g_z : v_z;
    out.transform = &team.t;
    out.z = z;
    for (int64_t block = 0; block < f.blocks; ++block) {
      team.load({&team.t, forward.source(u, pre, block), z, 0, 0});
      if (!again) return team.walk(team.kernels.forward, z);
      if (all.shared_ && r.dlags)
        team.walk(team.kernels.convolve_keep, z, spectrum, v_z);
      else
        team.walk(team.kernels.convolve, z, spectrum);
      out.first = block * f.step;
      out.last = std::min(forward.map().out, out.first + f.step);
      out.shift = f.shift - block * f.step;
      team.store(out);
    }
  }

  void whole(const T* g, const T* gate, const T* spectrum, StoreArgs<T> out) const {
    const Team<T> team = forward.team(threads);
    const Geometry& f = forward.geometry();
    team.load({&team.t, {g, gate, forward.map().out, -f.shift, 0, 0}, g_z, 0, 0});
    if (!r.inputs()) {
      team.walk(team.kernels.forward, g_z);
      return team.correlate(g_z, v_z, sum);
    }
    if (r.dlags)
      team.walk(team.kernels.backward, g_z, spectrum, v_z, sum);
    else
      team.walk(team.kernels.convolve_conj, g_z, spectrum);
    out.transform = &team.t;
    out.z = g_z;
    out.last = forward.map().in;
    out.shift = -f.first;
    team.store(out);
  }

  void blocks(const T* g, const T* gate, const T* u, const T* pre, const T* spectrum, StoreArgs<T> out) const {
    const Team<T> team = adjoint.team(threads);
    const Geometry& a = adjoint.geometry();
    out.transform = &team.t;
    out.z = g_z;
    for (int64_t block = 0; block < a.blocks; ++block) {
      const int64_t from = block * a.step, to = std::min(adjoint.map().out, from + a.step);
      if (r.dlags) {
        team.load({&team.t, {u + from, pre ? pre + from : nullptr, to - from, -a.shift, 0, 0}, v_z, 0, 0});
        team.walk(team.kernels.forward, v_z);
      }
      team.load({&team.t, adjoint.source(g, gate, block), g_z, 0, 0});
      if (!r.inputs()) {
        team.walk(team.kernels.forward, g_z);
        team.correlate(v_z, g_z, sum);
        continue;
      }
      if (r.dlags)
        team.walk(team.kernels.backward_adjoint, g_z, spectrum, v_z, sum);
      else
        team.walk(team.kernels.convolve, g_z, spectrum);
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
  shared_ = forward.geometry().blocks == 1 && adjoint.geometry().blocks == 1 && !forward.map().circular &&
            forward.geometry().first == 0;
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

// Per thread v_z, g_z, a row, and a sum unless those of all tasks stay: what gets added up at the end.
template <class T>
size_t Backward<T>::workspace_bytes(int threads) const {
  const size_t z = std::max(forward_.z_bytes(), adjoint_.z_bytes());
  const size_t each = 3 * z + aligned(size_t(forward_.map().out) * sizeof(T));
  return size_t(threads) * each + (parts() > 1 ? size_t(tasks() * parts()) * last().z_bytes() : 0);
}

template <class T>
typename Backward<T>::Worker Backward<T>::worker(char* memory, int threads) const {
  const size_t z = std::max(forward_.z_bytes(), adjoint_.z_bytes());
  const auto at = [&](int i) { return reinterpret_cast<T*>(memory + size_t(i) * z); };
  return {*this, rows_, forward_, adjoint_, threads, at(0), at(1), at(2), at(3)};
}

template <class T>
void Backward<T>::run(char* workspace, int threads) const {
  const int64_t parts = this->parts(), tasks = this->tasks(), samples = rows_.per_sample ? 1 : rows_.batch;
  const size_t each =
      3 * std::max(forward_.z_bytes(), adjoint_.z_bytes()) + aligned(size_t(forward_.map().out) * sizeof(T));
  T* kept = parts > 1 ? reinterpret_cast<T*>(workspace + size_t(threads) * each) : nullptr;
  const int64_t items = last().spectrum_items();
  const auto one = [&](int64_t task, char* memory, int team) {
    Worker w = worker(memory, team);
    const int64_t kernel = task / parts, part = task % parts;
    if (kept) w.sum = kept + task * items;
    if (rows_.dlags) std::memset(w.sum, 0, last().z_bytes());
    const int64_t ih = kernel % rows_.channels, ic = kernel / rows_.channels % rows_.kernels;
    const int64_t first = rows_.per_sample ? kernel / rows_.channels : samples * part / parts;
    const int64_t end = rows_.per_sample ? first + 1 : samples * (part + 1) / parts;
    for (int64_t ib = first; ib < end; ++ib) w.run(ib, ic, ih);
    if (rows_.dlags && !kept) finish(last().team(team), w.sum, w.v_z, kernel);
  };
  if (tasks < threads && last().z_bytes() >= kTogetherBytes) {
    for (int64_t task = 0; task < tasks; ++task) one(task, workspace, threads);
    return;
  }
  parallel_for(tasks * parts, threads, [&](int64_t task, int worker) { one(task, workspace + worker * each, 1); });
  if (!kept || !rows_.dlags) return;
  parallel_for(tasks, threads, [&](int64_t kernel, int worker) {
    T* sum = kept + kernel * parts * items;
    for (int64_t part = 1; part < parts; ++part)
      for (int64_t i = 0; i < items; ++i) sum[i] += sum[part * items + i];
    finish(last().team(1), sum, reinterpret_cast<T*>(workspace + worker * each), kernel);
  });
}

template <class T>
void Backward<T>::finish(const Team<T>& team, T* sum, T* room, int64_t kernel) const {
  const Map& map = last().map();
  const int64_t points = last().geometry().points, lags = map.span() + 1, n = 2 * points;
  team.walk(team.kernels.inverse, sum);
  team.kernels.scale(sum, team.t.vectors, T(1) / T(points));
  StoreArgs<T> out{};
  out.transform = &team.t;
  out.z = sum;
  out.last = n;
  out.y = room;
  team.store(out);
  T* to = rows_.dlags + kernel * lags;
  const int64_t first = map.lo - last().geometry().origin, wrapped = std::clamp<int64_t>(-first, 0, lags);
  for (int64_t i = 0; i < wrapped; ++i) to[i] = -room[first + i + n];
  for (int64_t i = wrapped; i < lags; ++i) to[i] = room[first + i];
  if (!shared_) std::reverse(to, to + lags);
}

template class Backward<float>;
template class Backward<double>;

}  // namespace omniconv::fft
