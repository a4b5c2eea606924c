// reference/sparse.cpp -- the formulas, one pair after the other
#include "reference/sparse.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "reference/conv.hpp"

namespace omniconv::reference {
namespace {

double& at(const TensorView& v, int64_t i) { return static_cast<double*>(v.data)[i * v.strides[0]]; }
double& at(const TensorView& v, int64_t i, int64_t j) {
  return static_cast<double*>(v.data)[i * v.strides[0] + j * v.strides[1]];
}
double& at(const TensorView& v, int64_t i, int64_t j, int64_t k) {
  return static_cast<double*>(v.data)[i * v.strides[0] + j * v.strides[1] + k * v.strides[2]];
}

template <class Body>
void each_pair(const SparseMap& map, Body&& body) {
  for (size_t tile = 0; tile < map.tiles().size(); ++tile)
    for (int64_t tap = 0; tap < map.taps(); ++tap) {
      const SparseMap::Tile& t = map.tiles()[tile];
      for (int32_t p = t.begin[size_t(tap)]; p < t.begin[size_t(tap) + 1]; ++p)
        body(t.pairs[size_t(p)].in, map.out_row(int64_t(tile), t.pairs[size_t(p)].out), tap);
    }
}

}  // namespace

void sparse_convolve(const SparseMap& map, const TensorView& x, const TensorView& weight, int64_t groups,
                     const SparseEpilogue& e, const TensorView& y) {
  const int64_t outs = weight.shape[0], ins = weight.shape[1], rows = y.shape[0];
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t o = 0; o < outs; ++o) at(y, i, o) = 0;
  each_pair(map, [&](int64_t in, int64_t out, int64_t tap) {
    for (int64_t o = 0; o < outs; ++o)
      for (int64_t k = 0; k < ins; ++k)
        at(y, out, o) += at(weight, o, k, tap) * at(x, in, o / (outs / groups) * ins + k);
  });
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t o = 0; o < outs; ++o) {
      double& v = at(y, i, o);
      if (e.scale.defined()) v *= at(e.scale, o);
      if (e.bias.defined()) v += at(e.bias, o);
      if (e.residual.defined()) v += at(e.residual, i, o);
      v = activate(e.activation, v, double(e.negative_slope));
    }
}

void sparse_grad_weight(const SparseMap& map, const TensorView& x, const TensorView& g, int64_t groups,
                        const TensorView& dw) {
  const int64_t outs = dw.shape[0], ins = dw.shape[1];
  for (int64_t o = 0; o < outs; ++o)
    for (int64_t k = 0; k < ins; ++k)
      for (int64_t tap = 0; tap < map.taps(); ++tap) at(dw, o, k, tap) = 0;
  each_pair(map, [&](int64_t in, int64_t out, int64_t tap) {
    for (int64_t o = 0; o < outs; ++o)
      for (int64_t k = 0; k < ins; ++k) at(dw, o, k, tap) += at(x, in, o / (outs / groups) * ins + k) * at(g, out, o);
  });
}

void spike_convolve(const SparseMap& map, const SpikeRows& x, const int8_t* weight, int64_t outs, int64_t groups,
                    const SpikeResult& r) {
  const int64_t ins = x.channels / groups, rows = map.out()->rows();
  for (int64_t step = 0; step < x.steps; ++step) {
    std::vector<int64_t> sums(size_t(rows * outs));
    each_pair(map, [&](int64_t in, int64_t out, int64_t tap) {
      const uint8_t* row = x.counts + (step * x.rows + in) * x.channels;
      for (int64_t o = 0; o < outs; ++o)
        for (int64_t k = 0; k < ins; ++k)
          sums[size_t(out * outs + o)] +=
              int64_t(weight[(o * ins + k) * map.taps() + tap]) * row[o / (outs / groups) * ins + k];
    });
    for (int64_t i = 0; i < rows * outs; ++i) {
      const int64_t at = step * rows * outs + i;
      if (r.sums) r.sums[at] = int32_t(sums[size_t(i)]);
      float u = float(sums[size_t(i)]);
      if (r.scale) u *= r.scale[i % outs];
      if (r.bias) u += r.bias[i % outs];
      if (r.residual) u += r.residual[at];
      if (r.membrane) r.membrane[at] = u;
      if (!r.spikes) continue;
      const float s = u > 0 ? std::min(u, float(r.neuron.levels)) : 0.0f;
      r.spikes[at] = uint8_t(r.neuron.half_even ? std::nearbyint(s) : std::floor(s + 0.5f));
    }
  }
}

}  // namespace omniconv::reference
