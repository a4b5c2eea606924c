// sparse/spmm.cpp -- CSR matrix times dense rows, rows shared out by their entries
#include <algorithm>
#include <string>
#include <vector>

#include "conv/kernels.hpp"
#include "core/thread_pool.hpp"
#include "sparse/kernels.hpp"
#include "sparse/operands.hpp"

namespace omniconv {
namespace sparse {
namespace {

constexpr int64_t kEntries = 8192;  // of a task, a row counted as one: some 50 us with 32 columns

void check(const CsrView& m, const TensorView& x, const TensorView& y) {
  const auto fail = [](const std::string& message) { throw Error(Code::invalid_argument, message); };
  if (m.rows < 0 || m.columns < 0 || !m.begin || m.begin[0] != 0) fail("indptr does not begin with 0");
  for (int64_t i = 0; i < m.rows; ++i)
    if (m.begin[i + 1] < m.begin[i]) fail("indptr descends at row " + std::to_string(i));
  if (m.begin[m.rows] != m.entries)
    fail("indptr ends with " + std::to_string(m.begin[m.rows]) + ", and indices has " + std::to_string(m.entries));
  if (x.ndim != 2) fail("x has " + std::to_string(x.ndim) + " axes; expected are 2");
  require_shape(x, "x", {m.columns, x.shape[1]});
  require_shape(y, "out", {m.rows, x.shape[1]});
  for (const auto& [v, name] : {std::pair{&x, "x"}, std::pair{&y, "out"}})
    if (v->dtype != DType::float32) throw Error(Code::type_error, std::string(name) + " is not float32");
  if (y.strides[1] != 1 && y.shape[1] > 1 && y.size() > 0) fail("out must have adjacent columns");
}

// Of the entries of a task, just before they are used: a pass of its own took a tenth of the time at 16 columns.
void check_indices(const CsrView& m, int64_t first, int64_t last) {
  int32_t low = 0, high = -1;
  for (int64_t e = m.begin[first]; e < m.begin[last]; ++e) {
    low = m.indices[e] < low ? m.indices[e] : low;
    high = m.indices[e] > high ? m.indices[e] : high;
  }
  if (low < 0 || high >= m.columns)
    throw Error(Code::invalid_argument, "indices holds " + std::to_string(low < 0 ? low : high) +
                                            "; allowed are 0 to " + std::to_string(m.columns - 1));
}

}  // namespace
}  // namespace sparse

void spmm(const CsrView& m, const TensorView& x, const TensorView& bias, Activation activation, float negative_slope,
          const TensorView& y) {
  using namespace sparse;
  check(m, x, y);
  const int64_t width = x.shape[1];
  if (bias.defined()) {
    require_shape(bias, "bias", {width});
    require_dtype(bias, "bias", x.dtype);
    if (bias.strides[0] != 1 && width > 1) throw Error(Code::invalid_argument, "bias must be contiguous");
  }
  const Rows rows(x);
  const bool plain = !bias.defined() && activation == Activation::none;
  const int lanes = kernels().lanes;
  const int64_t padded = (width + lanes - 1) / lanes * lanes;
  std::vector<int64_t> first{0};
  for (int64_t row = 1; row < m.rows; ++row)
    if (m.begin[row] + row - m.begin[first.back()] - first.back() >= kEntries) first.push_back(row);
  first.push_back(m.rows);
  parallel_for(int64_t(first.size()) - 1, [&](int64_t task, int) {
    const int64_t begin = first[size_t(task)], end = first[size_t(task) + 1];
    check_indices(m, begin, end);
    float* out = static_cast<float*>(y.data);
    SpmmArgs a{m.begin, m.indices,    m.values, m.row_scale, m.column_scale, rows.data(), rows.step(),
               out,     y.strides[0], width,    m.rows,      begin,          end};
    a.y = out + begin * y.strides[0];
    if (plain) return kernels().spmm(a);
    constexpr int64_t kBlock = 32;  // rows that go from sums to results while they are in L1
    const ScopedWorkspace scratch(size_t(kBlock * padded) * sizeof(float));
    for (int64_t row = begin; row < end; row += kBlock) {
      a.first = row, a.last = std::min(end, row + kBlock);
      a.y = static_cast<float*>(scratch.data()), a.y_step = padded;
      kernels().spmm(a);
      conv::FinishArgs f{};
      f.c = a.y, f.panel = padded, f.pixels = a.last - row, f.channels = width;
      f.y = out + row * y.strides[0], f.y_pixel = y.strides[0], f.y_channel = 1;
      f.bias = static_cast<const float*>(bias.data);
      f.activation = activation, f.negative_slope = negative_slope;
      conv::kernels().finish(f);
    }
  });
}

}  // namespace omniconv
