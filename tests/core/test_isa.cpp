// tests/core/test_isa.cpp -- names, availability, set_isa() and the environment variable OMNICONV_ISA.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "omniconv/context.hpp"
#include "omniconv/status.hpp"

namespace omniconv {
namespace {

constexpr Isa kAll[] = {Isa::scalar, Isa::neon, Isa::avx2, Isa::avx512, Isa::avx512vnni, Isa::amx};

template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_has(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is not in: " << text;
}

TEST(Isa, NamesRoundTrip) {
  for (Isa isa : kAll) EXPECT_EQ(parse_isa(name(isa)), isa) << name(isa);
  for (const char* bad : {"", "AVX2", "avx", "avx2 ", "sse"}) {
    const std::string error = error_of([&] { parse_isa(bad); });
    expect_has(error, std::string("found '") + bad + "'");
    for (Isa isa : kAll) expect_has(error, name(isa));
  }
}

TEST(Isa, AvailableLevelsAreOrderedAndAgreeWithTheCompiler) {
  const std::vector<Isa> isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::scalar);
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
  for (Isa isa : kAll) EXPECT_EQ(is_available(isa), std::count(isas.begin(), isas.end(), isa) == 1) << name(isa);
#if defined(__x86_64__)
  EXPECT_FALSE(is_available(Isa::neon));
  EXPECT_EQ(is_available(Isa::avx2), __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(is_available(Isa::avx512), __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
#elif defined(__aarch64__)
  EXPECT_EQ(isas, (std::vector<Isa>{Isa::scalar, Isa::neon}));
#endif
}

TEST(Isa, SetIsaTakesEveryAvailableLevelAndNoOther) {
  const Isa before = current_isa();
  for (Isa isa : kAll) {
    if (is_available(isa)) {
      set_isa(isa);
      EXPECT_EQ(current_isa(), isa);
      continue;
    }
    const Isa kept = current_isa();
    const std::string error = error_of([&] { set_isa(isa); });
    expect_has(error, "isa: found '" + std::string(name(isa)) + "'");
    for (Isa allowed : available_isas()) expect_has(error, name(allowed));
    EXPECT_EQ(current_isa(), kept);
  }
  set_isa(before);
}

TEST(Isa, ManyThreadsMayAskFirst) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) threads.emplace_back([] { EXPECT_TRUE(is_available(current_isa())); });
  for (auto& thread : threads) thread.join();
}

// Runs one of the disabled tests below in a new process with OMNICONV_ISA=value.
int status_with_environment(const std::string& value, const char* filter) {
  const pid_t child = fork();
  if (child == 0) {
    setenv("OMNICONV_ISA", value.c_str(), 1);
    execl("/proc/self/exe", "test", "--gtest_also_run_disabled_tests", filter, nullptr);
    _exit(127);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(Environment, ChoosesTheLevel) {
  for (Isa isa : available_isas())
    EXPECT_EQ(status_with_environment(std::string(name(isa)), "--gtest_filter=*DISABLED_Chosen"), 0) << name(isa);
  EXPECT_EQ(status_with_environment("", "--gtest_filter=*DISABLED_Best"), 0);
}
TEST(Environment, NeverIgnoresABadName) {
  EXPECT_EQ(status_with_environment("avx9", "--gtest_filter=*DISABLED_Bad"), 0);
  for (Isa isa : kAll) {
    if (is_available(isa)) continue;
    EXPECT_EQ(status_with_environment(std::string(name(isa)), "--gtest_filter=*DISABLED_Bad"), 0) << name(isa);
  }
}

// Only run by the tests above, in processes of their own.
TEST(Environment, DISABLED_Chosen) { EXPECT_EQ(name(current_isa()), std::getenv("OMNICONV_ISA")); }
TEST(Environment, DISABLED_Best) { EXPECT_EQ(current_isa(), available_isas().back()); }
TEST(Environment, DISABLED_Bad) {
  for (int repeat = 0; repeat < 2; ++repeat) {
    const std::string error = error_of([] { current_isa(); });
    expect_has(error, "OMNICONV_ISA");
    expect_has(error, std::string("'") + std::getenv("OMNICONV_ISA") + "'");
    for (Isa isa : available_isas()) expect_has(error, name(isa));
  }
  set_isa(Isa::scalar);
  EXPECT_EQ(current_isa(), Isa::scalar);
}

}  // namespace
}  // namespace omniconv
