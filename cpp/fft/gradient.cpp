// fft/gradient.cpp -- gradients of kernels: products of spectra, summed over blocks and samples, transformed back once
//
// Where y[o] sums w[l] v[t0 + o - l], the gradient of w[l] sums grad[o] v[t0 + o - l]: a correlation at the same
// positions, so exact for the lags of the map wherever the convolution is exact for its outputs.
#include <algorithm>

#include "core/thread_pool.hpp"
#include "fft/engine.hpp"

namespace omniconv::fft {
namespace {

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Dense copy of a row, times its gate.
template <class T>
void copy_row(View<const T> v, View<const T> gate, int64_t b, int64_t c, int64_t h, int64_t count, T* to) {
  const T *x = v.row(b, c, h), *g = gate.row(b, c, h);
  for (int64_t i = 0; i < count; ++i) to[i] = g ? x[i * v.t] * g[i * gate.t] : x[i * v.t];
}

}  // namespace

template <class T>
size_t Engine<T>::gradient_workspace_bytes(int threads) const {
  const size_t rows = aligned(size_t(map_.in + map_.out) * sizeof(T));
  return size_t(threads) * (3 * z_bytes() + rows);
}

template <class T>
void Engine<T>::lag_gradient(const Rows<T>& rows, View<const T> grad, bool per_sample, T* dlags, char* workspace,
                             int threads) const {
  const Transform<T>& t = tables_->transform();
  const size_t each = gradient_workspace_bytes(1);
  const int64_t samples = per_sample ? 1 : rows.batch;
  const int64_t kernels = rows.kernels * rows.channels * (per_sample ? rows.batch : 1);
  parallel_for(kernels, threads, [&](int64_t task, int worker) {
    char* memory = workspace + worker * each;
    T* sum = reinterpret_cast<T*>(memory);
    T *v_z = sum + 2 * t.points, *g_z = v_z + 2 * t.points;
    T* v_row = reinterpret_cast<T*>(memory + 3 * z_bytes());
    T* g_row = v_row + map_.in;
    const int64_t ih = task % rows.channels, ic = task / rows.channels % rows.kernels;
    const int64_t sample = per_sample ? task / rows.channels / rows.kernels : 0;
    for (int64_t i = 0; i < samples; ++i) {
      const int64_t ib = per_sample ? sample : i;
      copy_row(rows.u, rows.pre, ib, ic, ih, map_.in, v_row);
      copy_row(grad, View<const T>{}, ib, ic, ih, map_.out, g_row);
      for (int64_t block = 0; block < geometry_.blocks; ++block) {
        const int64_t from = block * geometry_.step, to = std::min(map_.out, from + geometry_.step);
        kernels_.load({&t, source(v_row, nullptr, block), v_z, 0, columns()});
        // Output o of the block is at position o + shift - block * step; others are zero.
        const Source<T> g{g_row + from, nullptr, to - from, -geometry_.shift, 0, 0};
        kernels_.load({&t, g, g_z, 0, columns()});
        kernels_.forward({&t, v_z, nullptr, 0, 0, 1});
        kernels_.forward({&t, g_z, nullptr, 0, 0, 1});
        kernels_.correlate(g_z, v_z, sum, t.vectors, i == 0 && block == 0);
      }
    }
    kernels_.inverse({&t, sum, nullptr, 0, 0, 1});
    kernels_.scale(sum, t.vectors, T(1) / T(t.points));
    T* room = v_z;  // all N positions
    StoreArgs<T> out{};
    out.transform = &t;
    out.z = sum;
    out.end = columns();
    out.last = 2 * t.points;
    out.y = room;
    kernels_.store(out);
    for (int64_t i = 0; i <= map_.span(); ++i) {
      const int64_t at = map_.lo + i - geometry_.origin;
      dlags[task * (map_.span() + 1) + i] = at < 0 ? -room[at + 2 * t.points] : room[at];
    }
  });
}

template size_t Engine<float>::gradient_workspace_bytes(int) const;
template size_t Engine<double>::gradient_workspace_bytes(int) const;
template void Engine<float>::lag_gradient(const Rows<float>&, View<const float>, bool, float*, char*, int) const;
template void Engine<double>::lag_gradient(const Rows<double>&, View<const double>, bool, double*, char*, int) const;

}  // namespace omniconv::fft
