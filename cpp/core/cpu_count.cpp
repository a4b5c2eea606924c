// cpp/core/cpu_count.cpp -- CPU limits from the affinity mask and from cgroup v1 and v2.
#include "core/cpu_count.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace omniconv {
namespace {

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// "200000 100000" is microseconds of CPU time per microseconds of wall time; "max" (v2) and -1 (v1) are no limit.
int quota_cpus(const std::string& quota_and_period) {
  std::istringstream text(quota_and_period);
  double quota, period;
  if (!(text >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min(std::ceil(quota / period), 1e6));
}

int group_limit(const std::string& directory) {
  const int v2 = quota_cpus(read_text(directory + "/cpu.max"));
  if (v2 > 0) return v2;
  return quota_cpus(read_text(directory + "/cpu.cfs_quota_us") + " " + read_text(directory + "/cpu.cfs_period_us"));
}

int affinity_cpus() {
#if defined(__linux__)
  cpu_set_t sets[8];  // 8192 CPUs; the kernel refuses a mask shorter than its own
  if (sched_getaffinity(0, sizeof sets, sets) == 0) return CPU_COUNT_S(sizeof sets, sets);
#endif
  return 0;
}

}  // namespace

int cgroup_cpu_limit(const std::string& membership, const std::string& mount) {
  int limit = 0;
  std::istringstream lines(membership);
  for (std::string line; std::getline(lines, line);) {  // "id:controllers:/path", controllers empty for v2
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
    const std::string root = controllers.empty() ? mount : mount + "/" + controllers;
    // A container often sees its parent's path but only its own group mounted: then just the root exists.
    for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
      if (path == "/") path.clear();
      const int here = group_limit(root + path);
      if (here > 0) limit = limit == 0 ? here : std::min(limit, here);
      if (path.rfind('/') == std::string::npos) break;
    }
  }
  return limit;
}

int usable_cpus() {
  int cpus = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  for (int limit : {affinity_cpus(), cgroup_cpu_limit(read_text("/proc/self/cgroup"), "/sys/fs/cgroup")})
    if (limit > 0) cpus = std::min(cpus, limit);
  return cpus;
}

}  // namespace omniconv
