// omniconv/options.hpp -- the words of every op: padding modes, activations, precisions, Bessel functions
//
// No standard header is included here: kernel units, compiled for one instruction set each, include this file.
#pragma once

namespace omniconv {

enum class PaddingMode { zeros, reflect, replicate, circular };

enum class Activation {
  none,
  relu,
  relu6,
  leaky_relu,
  silu,
  gelu,        // x * Phi(x)
  gelu_tanh,   // its tanh approximation
  quick_gelu,  // x * sigmoid(1.702 x)
  hardswish,
  sigmoid,
  tanh,
};

// A promise about the error against float64 (relative L2, normal data): highest <= 1e-6, high <= 2e-5;
// medium: products of bfloat16 or TF32. dfp16: operands rounded to 15 bits with a shared exponent, sums exact, float32
// only (dfp16.hpp): about 1e-4 on normal data.
enum class Precision { highest, high, medium, dfp16 };

// What omniconv/bessel.hpp evaluates.
enum class BesselFunction {
  log_iv,       // log I_v(x)
  log_kv,       // log K_v(x)
  log_ive,      // log (I_v(x) e^-x)
  log_kve,      // log (K_v(x) e^x)
  iv_ratio,     // I_{v+1}(x) / I_v(x)
  iv_ratioc,    // 1 - I_{v+1}(x) / I_v(x)
  kv_ratio,     // K_{v+1}(x) / K_v(x)
  iv_ratio_dx,  // d/dx of I_{v+1}(x) / I_v(x)
  log_iv_grad,  // (d/dv, d/dx) of log I_v(x): two outputs
  log_kv_grad,  // (d/dv, d/dx) of log K_v(x): two outputs
};

}  // namespace omniconv
