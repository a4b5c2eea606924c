// tests/core/test_cpu_count.cpp -- cgroup limits read from a made-up file tree.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "core/cpu_count.hpp"

namespace omniconv {
namespace {

TEST(CpuCount, ReadsCgroupLimits) {
  namespace fs = std::filesystem;
  const fs::path root = fs::temp_directory_path() / ("omniconv_cgroup_" + std::to_string(getpid()));
  const auto write = [&](const std::string& path, const std::string& text) {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text << "\n";
  };
  write("a/b/cpu.max", "250000 100000");
  write("a/cpu.max", "max 100000");
  write("tight/cpu.max", "50000 100000");
  write("tight/b/cpu.max", "400000 100000");
  write("wide/cpu.max", "800000 100000");
  write("wide/b/cpu.max", "200000 100000");
  write("cpu,cpuacct/old/cpu.cfs_quota_us", "300000");
  write("cpu,cpuacct/old/cpu.cfs_period_us", "100000");
  write("cpu,cpuacct/cpu.cfs_quota_us", "-1");
  write("cpu,cpuacct/cpu.cfs_period_us", "100000");
  const std::string mount = root.string();
  EXPECT_EQ(cgroup_cpu_limit("0::/a/b\n", mount), 3);
  EXPECT_EQ(cgroup_cpu_limit("0::/a\n", mount), 0);
  EXPECT_EQ(cgroup_cpu_limit("0::/tight/b\n", mount), 1);
  EXPECT_EQ(cgroup_cpu_limit("0::/wide/b\n", mount), 2);
  EXPECT_EQ(cgroup_cpu_limit("0::/\n", mount), 0);
  EXPECT_EQ(cgroup_cpu_limit("4:memory:/x\n3:cpu,cpuacct:/old\n", mount), 3);
  EXPECT_EQ(cgroup_cpu_limit("3:cpu,cpuacct:/\n", mount), 0);
  EXPECT_EQ(cgroup_cpu_limit("2:cpuset:/old\nnonsense\n", mount), 0);
  write("cpu.max", "100000 100000");  // the root as seen from inside a container whose path is its host's
  EXPECT_EQ(cgroup_cpu_limit("0::/docker/1234\n", mount), 1);
  fs::remove_all(root);
  EXPECT_GE(usable_cpus(), 1);
}

}  // namespace
}  // namespace omniconv
