// fft/team.hpp -- the steps of one row, by one thread or by several together
#pragma once

#include <algorithm>

#include "core/thread_pool.hpp"
#include "fft/kernels.hpp"

namespace omniconv::fft {

// Several threads sweep over independent columns down to stage 2, whose blocks are independent again.
template <class T>
struct Team {
  const Kernels<T>& kernels;
  const Transform<T>& t;
  int threads;

  int64_t columns() const { return t.vectors / kernels.lanes; }

  template <class Body>
  void chunks(int64_t count, Body&& body) const {
    if (threads == 1) return body(int64_t{0}, count);
    const int64_t chunk = std::max<int64_t>(1, count / (4 * threads));
    parallel_for((count + chunk - 1) / chunk, threads,
                 [&](int64_t task, int) { body(task * chunk, std::min(count, (task + 1) * chunk)); });
  }

  template <class Args>  // LoadArgs or StoreArgs
  void edge(void (*function)(const Args&), const Args& args) const {
    chunks(columns(), [&](int64_t begin, int64_t end) {
      Args a = args;
      a.begin = begin;
      a.end = end;
      function(a);
    });
  }
  void load(const LoadArgs<T>& args) const { edge(kernels.load, args); }
  void store(const StoreArgs<T>& args) const { edge(kernels.store, args); }

  // All stages of z. `function` is one of the walks of Kernels, which goes down, or up again, or both.
  void walk(void (*function)(const SpectrumArgs<T>&), T* z, const T* spectrum = nullptr, T* other = nullptr,
            T* sum = nullptr) const {
    const SpectrumArgs<T> a{&t, z, spectrum, 0, 0, 1, other, sum};
    if (threads == 1) return function(a);
    const int depth = std::min(2, t.stages - 1);
    const auto sweep = [&](int stage, bool inverse) {
      const int64_t blocks = t.vectors / t.stage[stage].length, part = t.stage[stage].length / t.stage[stage].radix;
      for (int64_t b = 0; b < blocks; ++b)
        chunks(part, [&](int64_t begin, int64_t end) { kernels.stage(t, a.z, stage, b, begin, end, inverse); });
    };
    if (function != kernels.inverse)
      for (int s = 0; s < depth; ++s) sweep(s, false);
    parallel_for(t.vectors / t.stage[depth].length, threads, [&](int64_t block, int) {
      SpectrumArgs<T> one = a;
      one.stage = depth;
      one.begin = block;
      one.end = block + 1;
      function(one);
    });
    if (function != kernels.forward)
      for (int s = depth - 1; s >= 0; --s) sweep(s, true);
  }

  // sum += a * conj(b)
  void correlate(const T* a, const T* b, T* sum) const {
    const int64_t step = 2 * kernels.lanes;
    chunks(t.vectors, [&](int64_t begin, int64_t end) {
      kernels.correlate(a + begin * step, b + begin * step, sum + begin * step, end - begin);
    });
  }
};

}  // namespace omniconv::fft
