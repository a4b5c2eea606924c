// tests/core/test_thread_pool.cpp -- parallel_for: every task once, nesting, exceptions, fork, concurrent callers.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/thread_pool.hpp"
#include "omniconv/status.hpp"

namespace omniconv {
namespace {

// Runs `tasks` tasks and reports whether each ran exactly once with a worker number in range.
bool each_task_runs_once(int64_t tasks, int max_workers = kMaxThreads) {
  const int workers = std::min(max_workers, num_threads());
  std::vector<std::atomic<int>> runs(tasks);
  std::atomic<bool> in_range{true};
  parallel_for(tasks, workers, [&](int64_t task, int worker) {
    runs[task].fetch_add(1);
    if (worker < 0 || worker >= workers) in_range = false;
  });
  for (const auto& count : runs)
    if (count != 1) return false;
  return in_range;
}

// Each of two tasks waits for the other: one thread alone would never finish.
bool two_threads_meet() {
  std::atomic<int> arrived{0};
  std::vector<std::thread::id> ids(2);
  std::vector<int> workers(2);
  parallel_for(2, [&](int64_t task, int worker) {
    ids[task] = std::this_thread::get_id();
    workers[task] = worker;
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();
  });
  return ids[0] != ids[1] && workers[0] != workers[1];
}

// Runs `action` in a forked child and returns its exit status; a child that hangs is killed by its alarm.
template <class Action>
int status_of_child(Action action) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(action() ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 3, 8}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
    for (int64_t tasks : {0, 1, 2, 3, 7, 64, 1000})
      for (int repeat = 0; repeat < 50; ++repeat) ASSERT_TRUE(each_task_runs_once(tasks)) << threads << " " << tasks;
  }
  set_num_threads(2);
  EXPECT_TRUE(each_task_runs_once(-1 + 1));
  parallel_for(-5, [](int64_t, int) { ADD_FAILURE() << "a negative count has no tasks"; });
}

TEST(ThreadPool, UsesSeveralThreads) {
  set_num_threads(2);
  EXPECT_TRUE(two_threads_meet());
}

TEST(ThreadPool, WorkerNumbersAreUniqueAndLimited) {
  set_num_threads(8);
  for (int limit : {1, 2, 3, 8}) {
    std::vector<std::atomic<int>> users(limit);
    std::atomic<int> collisions{0};
    parallel_for(2000, limit, [&](int64_t, int worker) {
      ASSERT_LT(worker, limit);
      if (users[worker].fetch_add(1) != 0) ++collisions;
      std::this_thread::yield();  // lets the others have tasks too
      users[worker].fetch_sub(1);
    });
    EXPECT_EQ(collisions, 0);
    EXPECT_TRUE(each_task_runs_once(100, limit));
  }
  set_num_threads(2);
}

TEST(ThreadPool, NestedCallsRunInline) {
  set_num_threads(4);
  std::vector<std::atomic<int>> runs(16 * 8);
  parallel_for(16, [&](int64_t outer, int) {
    const auto caller = std::this_thread::get_id();
    parallel_for(8, [&](int64_t inner, int worker) {
      EXPECT_EQ(worker, 0);
      EXPECT_EQ(std::this_thread::get_id(), caller);
      runs[outer * 8 + inner].fetch_add(1);
    });
  });
  for (const auto& count : runs) EXPECT_EQ(count, 1);
}

TEST(ThreadPool, RethrowsTheFirstExceptionAndGoesOn) {
  for (int threads : {1, 2, 8}) {
    set_num_threads(threads);
    for (int repeat = 0; repeat < 100; ++repeat) {
      EXPECT_THROW(parallel_for(64,
                                [](int64_t task, int) {
                                  if (task % 8 == 5) throw std::runtime_error("task");
                                }),
                   std::runtime_error);
      ASSERT_TRUE(each_task_runs_once(16));
    }
  }
}

// A call of another thread with two tasks, of which those on worker numbers below `held_workers` last until release().
class HeldCall {
 public:
  explicit HeldCall(int held_workers)
      : thread_([this, held_workers] {
          parallel_for(2, [this, held_workers](int64_t, int worker) {
            running_.fetch_add(1);
            while (running_ < 2 || (worker < held_workers && !release_)) std::this_thread::yield();
          });
        }) {
    while (running_ < 2) std::this_thread::yield();
  }
  ~HeldCall() { finish(); }
  void release() { release_ = true; }
  int tasks_run() const { return running_; }
  void finish() {
    release();
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<int> running_{0};
  std::atomic<bool> release_{false};
  std::thread thread_;
};

TEST(ThreadPool, RunsInlineWhileAnotherThreadHasThePool) {
  set_num_threads(2);
  HeldCall held(2);
  const auto caller = std::this_thread::get_id();
  int runs = 0;
  parallel_for(50, [&](int64_t, int worker) {
    EXPECT_EQ(worker, 0);
    ASSERT_EQ(std::this_thread::get_id(), caller);
    ++runs;
  });
  EXPECT_EQ(runs, 50);
  held.finish();
  EXPECT_EQ(held.tasks_run(), 2);
  EXPECT_TRUE(two_threads_meet());
}

TEST(ThreadPool, ConcurrentCallersAllFinish) {
  set_num_threads(2);
  std::atomic<int> good{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 200; ++repeat) good += each_task_runs_once(50);
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(good, 800);
}

TEST(ThreadPool, ResizingWaitsForARunningCall) {
  set_num_threads(2);
  HeldCall held(1);
  std::thread resizer([] { set_num_threads(3); });
  // Time in which a set_num_threads() that does not wait would act.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(num_threads(), 2);
  held.release();
  resizer.join();
  EXPECT_EQ(num_threads(), 3);
  EXPECT_TRUE(each_task_runs_once(100));
}

TEST(ThreadPool, ResizingAmongCallsOfOthers) {
  set_num_threads(2);
  std::atomic<bool> stop{false};
  std::atomic<int> bad{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 2; ++c)
    callers.emplace_back([&] {
      while (!stop) bad += !each_task_runs_once(20);
    });
  for (int repeat = 0; repeat < 100; ++repeat) set_num_threads(1 + repeat % 5);
  stop = true;
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(bad, 0);
  set_num_threads(2);
}

TEST(ThreadPool, RejectsBadThreadCounts) {
  for (int threads : {0, -1, kMaxThreads + 1}) {
    const std::string error = error_of([&] { set_num_threads(threads); });
    EXPECT_NE(error.find("threads"), std::string::npos) << error;
    EXPECT_NE(error.find("found " + std::to_string(threads)), std::string::npos) << error;
    EXPECT_NE(error.find("1 to 1024"), std::string::npos) << error;
  }
  set_num_threads(2);
  EXPECT_THROW(parallel_for(4, [](int64_t, int) { set_num_threads(3); }), Error);
  EXPECT_EQ(num_threads(), 2);
}

#if defined(__x86_64__)
TEST(ThreadPool, WorkersUseTheCallersFloatingPointMode) {
  constexpr unsigned kFlushToZero = 0x8000;
  set_num_threads(2);
  const unsigned before = __builtin_ia32_stmxcsr();
  for (unsigned flush : {kFlushToZero, 0u}) {
    __builtin_ia32_ldmxcsr((before & ~kFlushToZero) | flush);
    std::atomic<int> arrived{0};
    std::atomic<int> matching{0};
    parallel_for(2, [&](int64_t, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
      matching += (__builtin_ia32_stmxcsr() & kFlushToZero) == flush;
    });
    EXPECT_EQ(matching, 2);
  }
  __builtin_ia32_ldmxcsr(before);
}
#endif

// ThreadSanitizer takes the threads of the parent for alive and dies when the child's get the same ids.
#if !defined(__SANITIZE_THREAD__)
TEST(Fork, ChildUsesThePoolAfterTheParentDid) {
  set_num_threads(2);
  ASSERT_TRUE(each_task_runs_once(100));
  EXPECT_EQ(status_of_child([] {
              const bool good = each_task_runs_once(100) && two_threads_meet();
              set_num_threads(3);
              return good && each_task_runs_once(100) && status_of_child([] { return each_task_runs_once(9); }) == 0;
            }),
            0);
  EXPECT_TRUE(each_task_runs_once(100));
}

TEST(Fork, ChildIsFreeOfACallOfAnotherThread) {
  set_num_threads(2);
  for (int repeat = 0; repeat < 10; ++repeat) {
    HeldCall held(2);
    EXPECT_EQ(status_of_child([] {
                const bool met = two_threads_meet();
                set_num_threads(4);
                return met && each_task_runs_once(100);
              }),
              0);
  }
}

TEST(Fork, ChildOfATaskCanFinishThatCall) {
  set_num_threads(2);
  // The caller (worker 0) forks inside its task while the worker is held inside another one.
  std::atomic<int> arrived{0};
  std::atomic<bool> forked{false};
  const pid_t parent = getpid();
  int status = -1;
  pid_t child = -1;
  parallel_for(2, [&](int64_t, int worker) {
    arrived.fetch_add(1);
    while (arrived.load() < 2) std::this_thread::yield();
    while (worker != 0 && !forked) std::this_thread::yield();
    if (worker != 0) return;
    child = fork();
    forked = true;
    if (child == 0) alarm(20);
  });
  if (getpid() != parent) _exit(each_task_runs_once(50) ? 0 : 1);
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

#endif  // !__SANITIZE_THREAD__

TEST(Environment, SetsTheDefault) {
  const char* program = "/proc/self/exe";
  EXPECT_EQ(status_of_child([&] {
              setenv("OMNICONV_NUM_THREADS", "3", 1);
              execl(program, "test", "--gtest_also_run_disabled_tests", "--gtest_filter=*ThreeThreads", nullptr);
              return false;
            }),
            0);
  EXPECT_EQ(status_of_child([&] {
              setenv("OMNICONV_NUM_THREADS", "many", 1);
              execl(program, "test", "--gtest_also_run_disabled_tests", "--gtest_filter=*BadCount", nullptr);
              return false;
            }),
            0);
}
// Only run by the test above, in a process of their own.
TEST(Environment, DISABLED_ThreeThreads) {
  EXPECT_EQ(num_threads(), 3);
  EXPECT_TRUE(each_task_runs_once(100));
}
TEST(Environment, DISABLED_BadCount) {
  for (int repeat = 0; repeat < 2; ++repeat) {
    const std::string error = error_of([] { num_threads(); });
    EXPECT_NE(error.find("OMNICONV_NUM_THREADS"), std::string::npos) << error;
    EXPECT_NE(error.find("'many'"), std::string::npos) << error;
    EXPECT_NE(error.find("1 to 1024"), std::string::npos) << error;
  }
  set_num_threads(2);
  EXPECT_EQ(num_threads(), 2);
}

}  // namespace
}  // namespace omniconv
