// cpp/core/thread_pool.hpp -- the library's own threads: parallel_for over independent tasks.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

#include "omniconv/context.hpp"

namespace omniconv {

constexpr int kMaxThreads = 1024;

namespace detail {
using TaskFunction = void (*)(void* context, int64_t task, int worker);
void run_tasks(int64_t tasks, int max_workers, TaskFunction function, void* context);
}  // namespace detail

// Calls body(task, worker) once for every task in [0, tasks), in any order, on at most max_workers threads; returns
// when all are done. worker < max_workers tells which scratch memory is free to use: it is unique among the threads
// inside this call, but two calls made by two threads both have a worker 0. Pass the number of threads for which
// scratch was laid out: num_threads() may grow between the two.
//
// Inside a task, or while another thread is inside a parallel_for, all tasks run on the caller as worker 0. When a
// body throws, tasks not yet begun are dropped and the first exception is rethrown here. Nothing is allocated.
template <class Body>
void parallel_for(int64_t tasks, int max_workers, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  detail::run_tasks(
      tasks, max_workers,
      [](void* context, int64_t task, int worker) { (*static_cast<Plain*>(context))(task, worker); },
      const_cast<std::remove_const_t<Plain>*>(std::addressof(body)));
}

template <class Body>
void parallel_for(int64_t tasks, Body&& body) {
  parallel_for(tasks, num_threads(), body);
}

}  // namespace omniconv
