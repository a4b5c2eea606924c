// conv/im2win.cuh -- input in the order of im2win, in which the windows of neighbouring outputs are overlapping runs
//
// Under one row of outputs lie rows = depth taps x height taps rows of input. Column by column, and of a column all
// rows, and of a row all channels of the group, they become one array: element (column * rows + row) * ci + channel.
// The window of output o begins at column o * stride and is one run of taps * rows * ci elements (with dilation: a run
// for each tap), so windows share what they overlap in, where im2col would copy it (Lu, Chu and Liu, "Im2win: Memory
// Efficient Convolution on SIMD Architectures", HPEC 2022; on GPUs: Euro-Par 2023). The border is resolved once for an
// element of the array, not for each window that holds it.
#pragma once

#include "conv/implicit_gemm.cuh"

namespace omniconv::cuda {

struct Windows {
  int column;   // elements of a column
  int step;     // from a window to the next
  int run;      // from a run of a window to the next
  int columns;  // under a whole row of outputs
  Divisor by_column, by_height;

  explicit Windows(const Problem& p)
      : column(int(p.axis[0].taps * p.axis[1].taps * p.ci)),
        step(int(p.axis[2].stride) * column),
        run(int(p.axis[2].dilation) * column),
        columns(columns_under(p, p.axis[2].out)),
        by_column(column),
        by_height(p.axis[1].taps) {}

  static int columns_under(const Problem& p, int64_t outputs) {
    return int((outputs - 1) * p.axis[2].stride + p.axis[2].window());
  }
};

// Element `index` of the array of a row of outputs, columns counted from `first` on.
__device__ inline float window_element(const Arguments<float>& a, const Windows& w, const Pixel& row, int64_t group,
                                       int first, int index) {
  const int column = w.by_column.quotient(index);
  int rest = index - column * w.column;
  const int r = a.by_ci.quotient(rest), c = rest - r * int(a.by_ci.divisor);
  const int depth = w.by_height.quotient(r), height = r - depth * int(w.by_height.divisor);
  const Axis* axis = a.p.axis;
  int64_t place[kAxes] = {row.o[0] * axis[0].stride + depth * axis[0].dilation - axis[0].lo,
                          row.o[1] * axis[1].stride + height * axis[1].dilation - axis[1].lo,
                          first + column - axis[2].lo};
  int64_t from = row.n * a.xs.n + (group * a.p.ci + c) * a.xs.c;
#pragma unroll
  for (int i = 0; i < kAxes; ++i) {
    if (uint64_t(place[i]) >= uint64_t(axis[i].in)) place[i] = conv::border(place[i], axis[i].in, a.p.mode);
    if (place[i] < 0) return 0;
    from += place[i] * a.xs.axis[i];
  }
  return a.x[from];
}

// Packs the weights in the order of a window: width, depth, height, channel.
inline int pack_in_windows(const DeviceCall* call, DeviceMessage* message) {
  Problem turned = *call->problem;
  DeviceCall in_order = *call;
  in_order.problem = &turned;
  constexpr int kOrder[kAxes] = {2, 0, 1};
  for (int i = 0; i < kAxes; ++i) {
    turned.axis[i] = call->problem->axis[kOrder[i]];
    in_order.view.tap[i] = call->view.tap[kOrder[i]];
  }
  return pack_weights(&in_order, message);
}

// What keeps all of these from a problem.
inline void decline_windows(const DeviceAsk* ask, DeviceMessage* message) {
  const Problem& p = *ask->problem;
  if (ask->float64) return say(message, "float64 runs on the reference alone");
  if (ask->grad_weight) return say(message, "has no gradient of the weights");
  constexpr int64_t kMost = int64_t{1} << 30;
  const int64_t columns = (p.axis[2].out - 1) * p.axis[2].stride + p.axis[2].window();
  if (columns >= kMost || columns * p.axis[0].taps * p.axis[1].taps * p.ci >= kMost)
    return say(message, "has more than 2^30 elements under a row of outputs");
  decline_large(p, message);
}

}  // namespace omniconv::cuda
