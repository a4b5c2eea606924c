// bessel/trapezoid.cpp -- nodes of the trapezoidal rule for K
//
// Between s = hypot(v, x) of one row and the next the rule errs by less than 2^-56: the step keeps e^(-2 pi d / h)
// down, d the distance of the saddle next to the real axis, and beyond the ends the integrand is below e^-39 of its
// peak for every v <= s with x > 0.1.
#include <cmath>

#include "bessel/functions.hpp"

namespace omniconv::bessel {
namespace {

struct Row {
  double h, left, right;
};
constexpr Row kRows[kTrapezoids] = {{0.19, 9.4, 6.8}, {0.165, 9.4, 2.9}, {0.135, 6.0, 2.3}, {0.108, 3.9, 1.85}};

Trapezoid make(const Row& row) {
  Trapezoid t{};
  t.h = row.h;
  const int left = int(std::ceil(row.left / row.h)), right = int(std::ceil(row.right / row.h));
  t.nodes = left + right + 1;
  t.centre = left;
  for (int i = 0; i < t.nodes; ++i) {
    const long double tau = static_cast<long double>(i - left) * row.h, half = std::sinh(tau / 2);
    t.tau[i] = double(tau);
    t.even[i] = double(2 * half * half);
    // From a power series where the difference would cancel.
    long double odd = std::sinh(tau) - tau;
    if (std::fabs(tau) < 1) {
      long double term = tau;
      odd = 0;
      for (int k = 1; k < 15; ++k) {
        term *= tau * tau / ((2 * k) * (2 * k + 1));
        odd += term;
      }
    }
    t.odd[i] = double(odd);
    t.up[i] = double(std::exp(tau));
    t.down[i] = double(std::exp(-tau));
  }
  return t;
}

}  // namespace

const Trapezoid* trapezoids() {
  static const Trapezoid rules[kTrapezoids] = {make(kRows[0]), make(kRows[1]), make(kRows[2]), make(kRows[3])};
  return rules;
}

}  // namespace omniconv::bessel
