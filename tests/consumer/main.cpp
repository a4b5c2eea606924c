// tests/consumer/main.cpp -- uses the C++ interface of an installed omniconv: numbers known by hand, and an error.
#include <cstdio>
#include <cstring>
#include <vector>

#include "omniconv/omniconv.hpp"

namespace {

int failures = 0;

void expect(bool good, const char* what) {
  if (good) return;
  std::printf("FAILED: %s\n", what);
  ++failures;
}

// 1-D so that it can be checked by eye: (1 2 3 4) with the taps (1 10) and padding 1 is (10 21 32 43 4).
void convolves() {
  float x[] = {1, 2, 3, 4}, w[] = {1, 10}, y[5] = {};
  const std::vector<float> expected{10, 21, 32, 43, 4};
  const omniconv::ConvOperands operands{.a = {x, {1, 1, 4}}, .b = {w, {1, 1, 2}}, .out = {y, {1, 1, 5}}};
  omniconv::convolve({.pad_lo = {1}, .pad_hi = {1}}, operands);
  expect(std::vector<float>(y, y + 5) == expected, "convolve");

  std::memset(y, 0, sizeof y);
  omniconv::ConvPlan plan({.spatial = 1, .x_shape = {1, 1, 4}, .w_shape = {1, 1, 2}, .pad_lo = {1}, .pad_hi = {1}});
  expect(plan.output_shape() == std::vector<int64_t>{1, 1, 5}, "output_shape");
  plan.pack(operands.b);
  plan.run({.a = operands.a, .out = operands.out});
  expect(std::vector<float>(y, y + 5) == expected, "plan");

  // The same memory read backwards: (4 3 2 1) gives (40 34 23 12 1).
  omniconv::TensorView backwards(x + 3, omniconv::DType::float32, {1, 1, 4});
  backwards.strides[2] = -1;
  plan.run({.a = backwards, .out = operands.out});
  expect(std::vector<float>(y, y + 5) == std::vector<float>{40, 34, 23, 12, 1}, "negative stride");
}

void reports_errors() {
  float x[4] = {}, w[2] = {}, y[5] = {};
  try {
    omniconv::convolve({}, {.a = {x, {1, 1, 4}}, .b = {w, {1, 1, 2}}, .out = {y, {1, 1, 5}}});
    expect(false, "an output of the wrong shape is an error");
  } catch (const omniconv::Error& error) {
    expect(error.code() == omniconv::Code::invalid_argument, "code of the error");
    expect(std::strcmp(error.what(), "out has shape (1, 1, 5); expected is (1, 1, 3)") == 0, error.what());
  }
}

}  // namespace

int main() {
  std::printf("omniconv %s from C++\n", omniconv::version());
  expect(std::strcmp(omniconv::version(), OMNICONV_VERSION) == 0, "headers and library are of one version");
  convolves();
  reports_errors();
  return failures;
}
