// fft/backward.hpp -- rows through the step back of a plan
#pragma once

#include "fft/engine.hpp"

namespace omniconv::fft {

// Rows of a step back; elements of all are adjacent. Null results are not wanted.
template <class T>
struct BackwardRows {
  int64_t batch = 1, kernels = 1, channels = 1;  // B, C, H
  bool per_sample = false;
  View<const T> u, pre, post, grad, skip, bias;
  View<const T> sums;                         // what the activation was applied to; null: computed again where needed
  View<const T> spectrum;                     // null: made of k
  View<T> du, dpre, dpost;                    // du and dpre of every kernel by itself
  double *dskip = nullptr, *dbias = nullptr;  // [b, c, h]: of one row each
  Activation activation = Activation::none;
  double negative_slope = 0.01;
  const FftConvDesc* desc = nullptr;
  TensorView k{}, k_reverse{}, dk{}, dk_reverse{};

  bool inputs() const { return du.data || dpre.data; }
  bool taps() const { return dk.defined() || dk_reverse.defined(); }
  bool needs_sums() const { return dpost.data || activation != Activation::none; }
};

template <class T>
class Backward {
 public:
  Backward(const Engine<T>& forward, const Engine<T>& adjoint, const BackwardRows<T>& rows);
  bool needs_kernels() const { return needs_spectrum() || needs_adjoint(); }
  size_t workspace_bytes(int threads) const;
  void run(char* workspace, int threads) const;

 private:
  struct Worker;
  bool needs_spectrum() const { return (rows_.needs_sums() && !rows_.sums.data) || (shared_ && rows_.inputs()); }
  bool needs_adjoint() const { return !shared_ && rows_.inputs(); }
  size_t z_bytes() const;
  size_t thread_bytes() const;
  Worker worker(char* memory, int threads) const;
  int64_t tasks() const;
  int64_t parts() const;
  const Engine<T>& last() const { return shared_ ? forward_ : adjoint_; }  // whose transforms end the sums over samples

  const Engine<T>&forward_, &adjoint_;
  const BackwardRows<T> rows_;
  bool shared_;
};

}  // namespace omniconv::fft
