// cpp/core/cpu_count.hpp -- how many CPUs this process may really use.
#pragma once

#include <string>

namespace omniconv {

// min(CPUs online, CPUs of the affinity mask, cgroup quota rounded up), at least 1.
int usable_cpus();

// The cgroup CPU quota in whole CPUs (rounded up), 0 when there is none. `membership` is the text of
// /proc/self/cgroup and `mount` the place of /sys/fs/cgroup. Quotas of parent groups bind as well.
int cgroup_cpu_limit(const std::string& membership, const std::string& mount);

}  // namespace omniconv
