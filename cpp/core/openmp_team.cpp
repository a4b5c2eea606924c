// core/openmp_team.cpp -- finds libgomp among the loaded libraries and enters it through its documented entry points
#include "core/openmp_team.hpp"

#include <atomic>
#include <cstring>

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#endif

namespace omniconv {

#if defined(__linux__)
namespace {

// GOMP_parallel is what GCC's `#pragma omp parallel` calls (GCC manual, "The libgomp ABI"); the others are OpenMP's.
struct Team {
  void (*parallel)(void (*body)(void*), void* data, unsigned threads, unsigned flags) = nullptr;
  int (*max_threads)() = nullptr;
  int (*thread_number)() = nullptr;
  int (*in_parallel)() = nullptr;
};

Team team;
std::atomic<bool> found{false}, forgotten{false};
std::atomic<unsigned long long> libraries{0};  // how many had been loaded when we last looked

int find_path(dl_phdr_info* info, size_t, void* path) {
  const char* name = info->dlpi_name;
  if (name == nullptr || std::strstr(name, "/torch/lib/libgomp") == nullptr) return 0;
  *static_cast<const char**>(path) = name;
  return 1;
}

int count_loads(dl_phdr_info* info, size_t, void* count) {
  *static_cast<unsigned long long*>(count) = info->dlpi_adds;
  return 1;  // every entry holds the same count
}

template <class Function>
bool resolve(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// Looks again only when a library was loaded since the last look; 0.1 us otherwise. Called by one thread at a time.
bool find_team() {
  if (found.load(std::memory_order_acquire)) return true;
  unsigned long long loads = 0;
  dl_iterate_phdr(count_loads, &loads);
  if (loads == libraries.exchange(loads)) return false;
  const char* path = nullptr;
  dl_iterate_phdr(find_path, &path);
  if (path == nullptr) return false;
  void* library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  if (library == nullptr || !resolve(library, "GOMP_parallel", team.parallel) ||
      !resolve(library, "omp_get_max_threads", team.max_threads) ||
      !resolve(library, "omp_get_thread_num", team.thread_number) ||
      !resolve(library, "omp_in_parallel", team.in_parallel))
    return false;
  found.store(true, std::memory_order_release);
  return true;
}

struct Call {
  void (*body)(void*, int);
  void* context;
};

}  // namespace

bool run_on_openmp_team(int threads, void (*body)(void*, int), void* context) {
  if (forgotten.load(std::memory_order_relaxed) || !find_team()) return false;
  if (team.max_threads() != threads || team.in_parallel()) return false;
  Call call{body, context};
  team.parallel(
      [](void* data) {
        const Call& c = *static_cast<Call*>(data);
        c.body(c.context, team.thread_number());
      },
      &call, unsigned(threads), 0);
  return true;
}

void forget_openmp_team() { forgotten.store(true); }

#else

bool run_on_openmp_team(int, void (*)(void*, int), void*) { return false; }
void forget_openmp_team() {}

#endif

}  // namespace omniconv
