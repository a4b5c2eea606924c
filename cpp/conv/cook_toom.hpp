// conv/cook_toom.hpp -- the three matrices of a Winograd convolution, computed by the compiler
//
// F(m, r) gives m outputs of a correlation with r taps from n = m + r - 1 products (Winograd, "Arithmetic complexity
// of computations", 1980; Lavin and Gray, arXiv:1509.09308):  y = A^T [(G w) * (B^T x)].  By the transposed Toom-Cook
// construction from n - 1 finite points p_i and infinity:
//   A^T[j][i] = p_i^j                        infinity: 1 in the last row
//   G[i][j]   = p_i^j / prod_k (p_i - p_k)   infinity: 1 in the last column
//   B^T[i]    = coefficients of prod_{k != i} (x - p_k), of all n - 1 factors for infinity
// The points are dyadic, so A and B are exact in float32; G is applied in float64.
//
// Points: 0 and pairs +-p share their even and odd halves, which halves the multiplications. Their size decides the
// error. Relative L2 of F(4x4, 3x3), 64 channels in one chain: 1.7e-6 with the usual 1, 2; 1.8e-6 with 1/2, 1; 0.84e-6
// with 5/8, 5/4; 0.80e-6 with 3/4, 3/2. (Barabasz et al., arXiv:1803.10986, search such points too.) F(6x6, 3x3), in
// the same way: 2.9e-6 with 1/2, 1, 2; 3.4e-6 with 1/2, 7/8, 2; 4.0e-6 with 1/2, 1, 3/2.
// F(2, 4), rows of 21 terms: 1.9e-7 with 1, -1, 2; 1.8e-7 with 3/4, -3/4, 3/2; 1.7e-7 with 1/2, -1, 2.
#pragma once

namespace omniconv::conv {

template <int M, int R>
struct CookToom {
  static constexpr int kOutputs = M, kTaps = R, kSize = M + R - 1;
  static_assert(kSize <= 6 || kSize == 8, "no points are chosen for this size");
  double a[M][kSize]{}, g[kSize][R]{}, b[kSize][kSize]{};

  constexpr CookToom() {
    constexpr int n = kSize, finite = n - 1;
    double p[n]{};
    constexpr double five[4] = {0, 0.5, -1, 2};
    const double pairs[3] = {n <= 4 ? 1 : n == 6 ? 0.75 : 0.5, n == 6 ? 1.5 : 1, 2};
    for (int i = 1; i < finite; ++i) p[i] = n == 5 ? five[i] : i % 2 ? pairs[i / 2] : -pairs[(i - 1) / 2];
    for (int i = 0; i < n; ++i) {
      b[i][0] = 1;
      int degree = 0;
      double product = 1;
      for (int k = 0; k < finite; ++k) {
        if (k == i) continue;
        for (int j = ++degree; j > 0; --j) b[i][j] = b[i][j - 1] - p[k] * b[i][j];
        b[i][0] *= -p[k];
        product *= p[i] - p[k];
      }
      if (i == finite) {
        a[M - 1][i] = 1;
        g[i][R - 1] = 1;
        continue;
      }
      double power = 1;
      for (int j = 0; j < (M > R ? M : R); ++j, power *= p[i]) {
        if (j < M) a[j][i] = power;
        if (j < R) g[i][j] = power / product;
      }
    }
  }
};

}  // namespace omniconv::conv
