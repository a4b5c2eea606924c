// cpp/core/thread_pool.cpp -- a pool whose callers never wait for a worker that has not woken up yet.
#include "core/thread_pool.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/cpu_count.hpp"
#include "core/futex.hpp"
#include "core/openmp_team.hpp"
#include "omniconv/status.hpp"

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace omniconv {
namespace {

// ---- one processor -----------------------------------------------------------------------------------------------

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Rounding and flush-to-zero mode. Workers copy the caller's: else a task's bits would depend on who ran it.
#if defined(__x86_64__)
using FpMode = unsigned;
FpMode fp_mode() { return __builtin_ia32_stmxcsr(); }
void set_fp_mode(FpMode mode) { __builtin_ia32_ldmxcsr(mode); }
#elif defined(__aarch64__)
using FpMode = uint64_t;
FpMode fp_mode() {
  FpMode mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void set_fp_mode(FpMode mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
using FpMode = int;
FpMode fp_mode() { return 0; }
void set_fp_mode(FpMode) {}
#endif

// A futex wake-up costs about 5 us on the caller and up to 50 us until the sleeper runs; layers of a small network
// follow each other within a few us. Spinning as long as the wake-up would take at most doubles the cost of a gap.
constexpr auto kSpin = std::chrono::microseconds(40);

template <class Condition>
bool spin_until(std::chrono::nanoseconds limit, Condition condition) {
  if (condition()) return true;
  if (limit.count() == 0) return false;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 32; ++i) {
      pause();
      if (condition()) return true;
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

// ---- pool --------------------------------------------------------------------------------------------------------

thread_local bool inside_task = false;

struct Job {
  detail::TaskFunction function = nullptr;
  void* context = nullptr;
  int64_t tasks = 0;
  int max_workers = 0;
  FpMode fp{};
};

// The whole protocol is one word, state_:
//   bits 0-10  active   workers that have joined the job and not left it
//   bit  11    open     a job may be joined
//   bit  12    asleep   the caller sleeps until active is 0
//   bit  13    stop     workers must end
//   bits 14-31 epoch    number of the job, modulo 2^18
// A worker joins by adding 1 while `open` stands, so the caller knows whom to wait for and a worker that is late
// for a short job costs nothing. job_ may be written whenever `open` and `active` are 0. An epoch that comes round
// again while a worker sleeps makes it miss one job, which it may always do.
class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  void run(const Job& job);
  void abandon() { state_.store(0); }  // after fork: the workers that would leave do not exist here

  Pool* abandoned = nullptr;  // keeps pools of the parent process reachable for leak checkers

 private:
  static constexpr uint32_t kActive = (1u << 11) - 1, kOpen = 1u << 11, kAsleep = 1u << 12, kStop = 1u << 13;
  static constexpr uint32_t kEpoch = 1u << 14;
  static uint32_t epoch(uint32_t state) { return state / kEpoch; }

  void work(int worker);
  bool join_job(uint32_t& seen);
  void drain(int worker);
  void leave_job();
  void close_job();

  alignas(64) std::atomic<uint32_t> state_{0};
  std::atomic<int> sleepers_{0};
  alignas(64) std::atomic<int64_t> next_{0};  // on its own line: every task of every worker writes it
  alignas(64) Job job_;
  std::atomic<uint32_t> finished_{0};  // the word on which the caller sleeps
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
  std::chrono::nanoseconds spin_;
  std::vector<std::thread> workers_;
};

Pool::Pool(int threads) : spin_(threads <= usable_cpus() ? kSpin : kSpin * 0) {
  // Signals belong to the user's threads: Python, for one, expects its handlers to run on the main thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    workers_.reserve(threads - 1);
    for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
  } catch (const std::exception&) {
    // The system is out of threads or memory: fewer workers do the same work.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// Only ever called with no job open; at exit and after fork the pool is left alone instead.
Pool::~Pool() {
  state_.fetch_or(kStop);
  futex_wake(state_, kMaxThreads);
  for (std::thread& worker : workers_) worker.join();
}

void Pool::run(const Job& job) {
  job_ = job;
  next_.store(0, std::memory_order_relaxed);
  // Sequentially consistent, as is the sleeper's side: either it sees the job or it is counted in sleepers_ here.
  state_.store((epoch(state_.load(std::memory_order_relaxed)) + 1) * kEpoch | kOpen);
  const int sleepers = sleepers_.load();
  // With max_workers below the pool's size the sleepers woken might all be workers that have to stay out.
  const int64_t helpers = static_cast<int>(workers_.size()) < job.max_workers ? job.tasks - 1 : kMaxThreads;
  if (sleepers > 0) futex_wake(state_, static_cast<int>(std::min<int64_t>(helpers, sleepers)));

  inside_task = true;
  drain(0);
  inside_task = false;
  close_job();
  if (!failed_.load(std::memory_order_relaxed)) return;
  failed_.store(false, std::memory_order_relaxed);
  std::rethrow_exception(std::exchange(error_, nullptr));
}

void Pool::close_job() {
  state_.fetch_and(~kOpen, std::memory_order_acq_rel);
  if (spin_until(spin_, [this] { return (state_.load(std::memory_order_acquire) & kActive) == 0; })) return;
  for (;;) {
    const uint32_t ticket = finished_.load();
    if ((state_.fetch_or(kAsleep) & kActive) == 0) return;
    futex_wait(finished_, ticket);
  }
}

void Pool::work(int worker) {
  inside_task = true;
  uint32_t seen = 0;  // epoch of the last job joined or found closed
  while (join_job(seen)) {
    if (worker < job_.max_workers) {
      set_fp_mode(job_.fp);
      drain(worker);
    }
    leave_job();
  }
}

// Waits for a job newer than `seen` and joins it; false when the pool ends.
bool Pool::join_job(uint32_t& seen) {
  const auto news = [&](uint32_t state) { return epoch(state) != seen || (state & kStop); };
  for (;;) {
    if (!spin_until(spin_, [&] { return news(state_.load(std::memory_order_relaxed)); })) {
      sleepers_.fetch_add(1);
      for (uint32_t state; !news(state = state_.load());) futex_wait(state_, state);
      sleepers_.fetch_sub(1);
    }
    uint32_t state = state_.load(std::memory_order_relaxed);
    while (state & kOpen)
      if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
        seen = epoch(state);
        return true;
      }
    if (state & kStop) return false;
    seen = epoch(state);
  }
}

void Pool::drain(int worker) {
  const Job job = job_;
  try {
    for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < job.tasks;)
      job.function(job.context, task, worker);
  } catch (...) {
    next_.store(job.tasks, std::memory_order_relaxed);
    if (!failed_.exchange(true, std::memory_order_relaxed)) error_ = std::current_exception();
  }
}

void Pool::leave_job() {
  const uint32_t before = state_.fetch_sub(1);
  if ((before & kAsleep) && (before & kActive) == 1) {
    finished_.fetch_add(1);
    futex_wake(finished_, 1);
  }
}

// ---- borrowed threads --------------------------------------------------------------------------------------------

// One job on threads of somebody else's: the tasks are dealt out as a Pool deals them.
class BorrowedJob {
 public:
  explicit BorrowedJob(const Job& job) : job_(job) {}

  // False, with nothing done, where there is no team to borrow.
  bool run() {
    const bool ran = run_on_openmp_team(
        job_.max_workers, [](void* self, int worker) { static_cast<BorrowedJob*>(self)->drain(worker); }, this);
    if (error_) std::rethrow_exception(error_);
    return ran;
  }

 private:
  void drain(int worker) {
    const FpMode mode = fp_mode();
    set_fp_mode(job_.fp);
    inside_task = true;
    try {
      for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < job_.tasks;)
        job_.function(job_.context, task, worker);
    } catch (...) {
      next_.store(job_.tasks, std::memory_order_relaxed);
      if (!failed_.exchange(true, std::memory_order_relaxed)) error_ = std::current_exception();
    }
    inside_task = false;
    set_fp_mode(mode);
  }

  Job job_;
  alignas(64) std::atomic<int64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

// ---- the process's pool ------------------------------------------------------------------------------------------

// One caller at a time owns the pool through `busy`; every other one runs its tasks itself. Never destroyed: workers
// may sleep in it until the process is gone, and joining threads while a process or an interpreter ends can hang.
std::atomic<bool> busy{false};
std::atomic<int> resizing{0};  // callers keep off the pool while set_num_threads() waits for it
Pool* pool = nullptr;          // guarded by busy
std::atomic<int> thread_count{0};

// A forked child has only the forking thread. The parent's pool stays as it was, unreachable by any thread; the
// next parallel_for builds a new one.
void after_fork_in_child() {
  static Pool* graveyard = nullptr;
  if (pool != nullptr) {
    pool->abandon();
    pool->abandoned = graveyard;
    graveyard = pool;
    pool = nullptr;
  }
  resizing.store(0);
  busy.store(false);
  forget_openmp_team();
}

// At load, not at first use: a guard held by another thread while this one forks would stay locked in the child.
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, after_fork_in_child);

// dlclose() must not unmap code that sleeping workers will return to.
void keep_library_loaded() {
#if defined(__linux__)
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&after_fork_in_child), &info) != 0)
    dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}

bool try_enter() { return resizing.load() == 0 && !busy.load(std::memory_order_relaxed) && !busy.exchange(true); }

struct Leave {
  ~Leave() { busy.store(false); }
};

std::string allowed_threads() { return "allowed is an integer from 1 to " + std::to_string(kMaxThreads); }

int initial_threads() {
  const char* text = std::getenv("OMNICONV_NUM_THREADS");
  if (text == nullptr || *text == '\0') return std::min(usable_cpus(), kMaxThreads);
  int threads = 0;
  const char* end = text + std::strlen(text);
  const auto parsed = std::from_chars(text, end, threads);
  if (parsed.ec != std::errc() || parsed.ptr != end || threads < 1 || threads > kMaxThreads)
    throw Error(Code::invalid_argument,
                "environment variable OMNICONV_NUM_THREADS: found '" + std::string(text) + "', " + allowed_threads());
  return threads;
}

}  // namespace

int num_threads() {
  int threads = thread_count.load(std::memory_order_relaxed);
  if (threads == 0) {
    const int first = initial_threads();
    // When another thread's set_num_threads() came first, threads now holds its value and that one stands.
    if (thread_count.compare_exchange_strong(threads, first)) threads = first;
  }
  return threads;
}

void set_num_threads(int threads) {
  if (threads < 1 || threads > kMaxThreads)
    throw Error(Code::invalid_argument, "threads: found " + std::to_string(threads) + ", " + allowed_threads());
  if (inside_task)
    throw Error(Code::not_supported, "set_num_threads: called inside a parallel task, allowed only outside of one");
  resizing.fetch_add(1);
  while (busy.exchange(true)) std::this_thread::sleep_for(std::chrono::microseconds(50));
  if (threads != thread_count.load()) {
    delete std::exchange(pool, nullptr);
    thread_count.store(threads);
  }
  busy.store(false);
  resizing.fetch_sub(1);
}

void detail::run_tasks(int64_t tasks, int max_workers, TaskFunction function, void* context) {
  if (tasks > 1 && max_workers > 1 && !inside_task && num_threads() > 1 && try_enter()) {
    const Leave at_end;
    const Job job{function, context, tasks, max_workers, fp_mode()};
    if (max_workers == num_threads() && BorrowedJob(job).run()) return;
    if (pool == nullptr) {
      keep_library_loaded();
      pool = new Pool(num_threads());
    }
    return pool->run(job);
  }
  for (int64_t task = 0; task < tasks; ++task) function(context, task, 0);
}

}  // namespace omniconv
