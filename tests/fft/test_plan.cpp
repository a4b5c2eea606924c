// tests/fft/test_plan.cpp -- plans against the reference on every ISA, workspaces, lengths, roots, and bad arguments
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <random>
#include <thread>

#include "core/workspace.hpp"
#include "fft/transform.hpp"
#include "omniconv/context.hpp"
#include "omniconv/fft.hpp"

namespace omniconv {
namespace {

std::vector<float> noise(int64_t count, int seed) {
  std::mt19937 numbers(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(count);
  for (float& x : v) x = normal(numbers);
  return v;
}

double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(double(got[i]) - want[i], 2);
    norm += std::pow(double(want[i]), 2);
  }
  return std::sqrt(difference / norm);
}

struct IsaGuard {
  Isa before = current_isa();
  ~IsaGuard() { set_isa(before); }
};

TEST(FftPlan, AgreesWithTheReferenceOnEveryIsa) {
  const IsaGuard guard;
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (FftMode mode : {FftMode::causal, FftMode::circular, FftMode::same, FftMode::full, FftMode::valid})
      for (const auto& [length, taps] :
           {std::pair<int64_t, int64_t>{1, 1}, {70, 70}, {257, 30}, {900, 501}, {3000, 64}}) {
        const int64_t b = 2, h = 3;
        FftConvDesc desc{.mode = mode, .length = length, .taps = taps};
        const int64_t outputs = fft_conv_output_length(desc);
        std::vector<float> u = noise(b * h * length, 1), k = noise(h * taps, 2), want(b * h * outputs);
        const TensorView uv(u.data(), {b, h, length}), kv(k.data(), {h, taps});
        desc.algorithm = "reference";
        const FftConvPlan reference(desc);
        reference.run(reference.transform(kv), {.u = uv, .out = TensorView(want.data(), {b, h, outputs})});
        for (const AlgorithmInfo& a : fft_conv_algorithms(desc)) {
          if (!a.usable) {
            EXPECT_FALSE(a.reason.empty());
            continue;
          }
          desc.algorithm = a.name;
          const FftConvPlan plan(desc);
          EXPECT_EQ(plan.algorithm(), a.name);
          std::vector<float> got(b * h * outputs, NAN);
          plan.run(plan.transform(kv), {.u = uv, .out = TensorView(got.data(), {b, h, outputs})});
          EXPECT_LE(relative_error(got, want), 1e-6) << a.name << " " << length << " " << taps << " " << name(isa);
        }
      }
  }
}

// <grad, y> is linear in v and in k: both its derivatives give it back, on every ISA and by every algorithm.
TEST(FftPlan, BackwardIsTheAdjoint) {
  const IsaGuard guard;
  for (Isa isa : available_isas()) {
    set_isa(isa);
    for (FftMode mode : {FftMode::causal, FftMode::circular, FftMode::same, FftMode::full, FftMode::valid})
      for (const char* algorithm : {"direct", "fft", "overlap_save"}) {
        const int64_t b = 3, h = 2, length = 900, taps = 70;
        const FftConvPlan plan({.mode = mode, .length = length, .taps = taps, .algorithm = algorithm});
        const int64_t outputs = plan.output_length();
        std::vector<float> u = noise(b * h * length, 1), k = noise(h * taps, 2), grad = noise(b * h * outputs, 3);
        std::vector<float> gate = noise(b * h * length, 4), y(b * h * outputs), sums(y.size());
        std::vector<float> du(u.size(), NAN), dgate(u.size(), NAN), dk(k.size(), NAN), dpost(y.size(), NAN);
        const auto rows = [&](std::vector<float>& v) {
          return TensorView(v.data(), {b, h, int64_t(v.size()) / b / h});
        };
        const TensorView kernels(k.data(), {h, taps});
        const FftSpectrum spectrum = plan.transform(kernels);
        plan.run(spectrum, {.u = rows(u), .out = rows(y), .pre_gate = rows(gate)});
        FftConvBackward o{
            .k = kernels, .u = rows(u), .pre_gate = rows(gate), .post_gate = rows(sums), .grad = rows(grad)};
        std::fill(sums.begin(), sums.end(), 1.0f);  // a gate that changes nothing
        o.du = rows(du);
        o.dpre_gate = rows(dgate);
        o.dpost_gate = rows(dpost);
        o.dk = TensorView(dk.data(), {h, taps});
        plan.backward(o);
        const auto dot = [](const std::vector<float>& a, const std::vector<float>& c) {
          double sum = 0;
          for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * c[i];
          return sum;
        };
        const double want = dot(grad, y), tolerance = 1e-5 * std::sqrt(dot(grad, grad) * dot(y, y));
        EXPECT_NEAR(dot(u, du), want, tolerance) << name(isa) << int(mode) << algorithm;
        EXPECT_NEAR(dot(gate, dgate), want, tolerance);
        EXPECT_NEAR(dot(k, dk), want, tolerance);
        for (size_t i = 0; i < y.size(); ++i) y[i] *= grad[i];
        EXPECT_LE(relative_error(dpost, y), 1e-6);
        const std::vector<float> first = du;
        plan.backward(o, &spectrum);
        EXPECT_EQ(du, first);
      }
  }
}

TEST(FftPlan, RunsInAnyWorkspaceOfItsSize) {
  const int64_t length = 5000;
  std::vector<float> u = noise(4 * length, 1), k = noise(4 * 50, 2), want(4 * length), got(4 * length);
  const FftConvPlan plan({.length = length, .taps = 50});
  const FftSpectrum spectrum = plan.transform(TensorView(k.data(), {4, 50}));
  FftConvOperands o{.u = TensorView(u.data(), {1, 4, length}), .out = TensorView(want.data(), {1, 4, length})};
  plan.run(spectrum, o);
  const AlignedBuffer memory(plan.workspace_bytes());
  o.out.data = got.data();
  plan.run(spectrum, o, memory.data(), memory.size());
  EXPECT_EQ(got, want);
  EXPECT_THROW(plan.run(spectrum, o, memory.data(), 64), Error);
  EXPECT_THROW(plan.run(spectrum, o, nullptr, memory.size()), Error);
}

TEST(FftPlan, ManyThreadsShareOne) {
  const int64_t length = 3000;
  std::vector<float> u = noise(2 * length, 1), k = noise(2 * length, 2), want(2 * length);
  const FftConvPlan plan({.length = length, .taps = length});
  const FftSpectrum spectrum = plan.transform(TensorView(k.data(), {2, length}));
  plan.run(spectrum, {.u = TensorView(u.data(), {1, 2, length}), .out = TensorView(want.data(), {1, 2, length})});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 5; ++n) {
        std::vector<float> got(2 * length);
        plan.run(spectrum, {.u = TensorView(u.data(), {1, 2, length}), .out = TensorView(got.data(), {1, 2, length})});
        EXPECT_EQ(got, want);
      }
    });
  for (std::thread& t : threads) t.join();
}

template <class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(FftPlan, ErrorsNameTheArgument) {
  const auto plan = [](FftConvDesc d) { return message_of([&] { FftConvPlan{d}; }); };
  EXPECT_NE(plan({.length = 0, .taps = 1}).find("u has rows of 0"), std::string::npos);
  EXPECT_NE(plan({.length = 5, .taps = 0}).find("k has rows of 0"), std::string::npos);
  EXPECT_NE(plan({.length = int64_t{1} << 62, .taps = 1}).find("u has rows of"), std::string::npos);
  EXPECT_NE(plan({.length = 5, .taps = 5, .reverse_taps = -1}).find("k_rev"), std::string::npos);
  EXPECT_NE(plan({.mode = FftMode::valid, .length = 5, .taps = 6}).find("no output"), std::string::npos);
  EXPECT_NE(plan({.length = 5, .taps = 5, .algorithm = "ftt"}).find("algorithm is 'ftt'"), std::string::npos);
  EXPECT_NE(plan({.length = 1 << 20, .taps = 1 << 20, .algorithm = "overlap_save"}).find("too many for a block"),
            std::string::npos);
  EXPECT_NE(plan({.length = 99, .taps = 99, .halvings = 2, .keep = 0.3}).find("halvings is 2"), std::string::npos);
  EXPECT_NE(plan({.length = 99, .taps = 99, .halvings = 1 << 30, .keep = 1e-9}).find("halvings is"), std::string::npos);
  EXPECT_NE(plan({.length = 99, .taps = 99, .halvings = 1, .keep = 0.2}).find("as many taps"), std::string::npos);
  EXPECT_NE(plan({.length = 0, .taps = 9, .reverse_taps = 9, .halvings = 1, .keep = 0.2}).find("halvings is"),
            std::string::npos);
  EXPECT_NE(message_of([] { parse_fft_mode("casual"); }).find("mode is 'casual'"), std::string::npos);

  std::vector<float> x(64);
  const FftConvPlan p({.length = 8, .taps = 4}), q({.length = 8, .taps = 4});
  const TensorView k(x.data(), {2, 4}), u(x.data(), {1, 2, 8}), y(x.data() + 32, {1, 2, 8});
  const FftSpectrum s = p.transform(k);
  EXPECT_NE(message_of([&] { p.transform(TensorView(x.data(), {2, 5})); }).find("k has shape"), std::string::npos);
  EXPECT_NE(message_of([&] { p.transform(k, k); }).find("k_rev"), std::string::npos);
  EXPECT_NE(message_of([&] { q.run(s, {.u = u, .out = y}); }).find("another plan"), std::string::npos);
  EXPECT_NE(message_of([&] { p.run(s, {.u = u, .out = u}); }).find("out overlaps u"), std::string::npos);
  EXPECT_NE(message_of([&] { p.run(s, {.out = y}); }).find("u is missing"), std::string::npos);
  EXPECT_NE(message_of([&] { p.run(s, {.u = u, .out = y, .skip = TensorView(x.data(), {3})}); }).find("skip has shape"),
            std::string::npos);
}

TEST(FftTransform, LengthsAreSmoothAndNotMuchLonger) {
  for (int lanes : {2, 4, 8, 16})
    for (int64_t least : {1, 64, 65, 1000, 1025, 4097, 100003, 1000001}) {
      const int64_t n = fft::cheapest_points(least, lanes);
      EXPECT_GE(n, least);
      EXPECT_EQ(n % (lanes * lanes), 0);
      EXPECT_LT(n, std::max<int64_t>(1.34 * least, 6 * lanes * lanes)) << least << " " << lanes;
      int64_t rest = n;
      for (int p : {2, 3, 5})
        while (rest % p == 0) rest /= p;
      EXPECT_EQ(rest, 1);
    }
}

// The roots of the last stage are roots of t^n = -i, whatever the factors: r-th powers of them give their block's c.
TEST(FftTransform, RootsAreRightToTheLastBits) {
  const int lanes = 4;
  for (int64_t points : {2 * lanes * lanes, 15 * lanes * lanes, 12 * lanes * lanes}) {
    const fft::Tables<double> tables(points, lanes);
    const fft::Transform<double>& t = tables.transform();
    const fft::Stage<double>& last = t.stage[t.stages - 1];
    const int64_t blocks = t.vectors / last.radix;
    for (int64_t b = 0; b < blocks; ++b)
      for (int l = 0; l < lanes; ++l) {
        const double* at = last.roots + (b * (last.radix - 1) + (last.radix == 4 ? 1 : 0)) * 2 * lanes + l;
        const std::complex<long double> s(at[0], at[lanes]);
        EXPECT_NEAR(double(std::abs(s)), 1, 3e-16);
        std::complex<long double> power = std::exp(std::log(s) * static_cast<long double>(points));
        EXPECT_NEAR(double(power.real()), 0, 4e-16 * points);
        EXPECT_NEAR(double(power.imag()), -1, 4e-16 * points);
      }
  }
}

}  // namespace
}  // namespace omniconv
