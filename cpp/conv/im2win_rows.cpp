// conv/im2win_rows.cpp -- rows of input in window order
#include "conv/im2win_rows.hpp"

#include <algorithm>

namespace omniconv::conv {
namespace {

template <class Element>
constexpr int kParts = 1;
template <>
constexpr int kParts<Part> = 3;

}  // namespace

WindowRows::WindowRows(const Problem& problem, bool spread) : p(problem) {
  // Windows that do not touch are stored without the columns between them.
  step = std::min(p.axis[2].stride, p.axis[2].window());
  column_length = p.axis[0].taps * p.axis[1].taps * p.ci;
  column_stride = column_length;
  // L1 has 64 sets of 64 bytes: windows 4096 bytes apart would share one set, and a tile reads 14 of them at once.
  if (spread && step * column_length % 1024 == 0) column_stride += 16;
}

Windows WindowRows::windows(const float* const* rows) const {
  if (contiguous()) return {rows, 0, 0, p.axis[2].taps * column_length};
  return {rows, 0, p.axis[2].dilation * column_stride, column_length};
}

// Transposing all of kd * kh * ci at once leaves few vectors partly empty; transposing each input row once and storing
// it kh / stride times wastes most of a vector when ci is small. Shuffles and stores per column of either way:
bool WindowRows::few_channels() const {
  const auto blocks = [](int64_t n) { return ceil_div(n, 16); };
  const int64_t taps = p.axis[0].taps * p.axis[1].taps,
                rows = std::min(p.axis[1].stride, p.axis[1].taps) * p.axis[0].taps;
  return blocks(column_length) * 5 < blocks(p.ci) * (4 * rows + taps);
}

template <class Element>
void WindowRows::lay_out(const Target<Element>& to, const Operands& m, int64_t group, int64_t first_row, int64_t rows,
                         int64_t first_column, int64_t outputs) const {
  const Axis &da = p.axis[0], &ha = p.axis[1];
  const int64_t length = row_floats(outputs);
  if (m.xs.c != 1 && few_channels()) {
    for (int64_t r = 0; r < rows; ++r)
      lay_out_row(to, m, group, first_row + r, first_column, outputs, to.buffer + r * length,
                  reinterpret_cast<const float**>(to.copies));
    return;
  }
  Copy<Element>* end = to.copies;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = first_row + r, oh = row % ha.out, od = row / ha.out % da.out, n = row / ha.out / da.out;
    for (int64_t kd = 0; kd < da.taps; ++kd)
      for (int64_t kh = 0; kh < ha.taps; ++kh) {
        const int64_t d = border(od * da.stride + kd * da.dilation - da.lo, da.in, p.mode);
        const int64_t h = border(oh * ha.stride + kh * ha.dilation - ha.lo, ha.in, p.mode);
        const int64_t source = d < 0 || h < 0 ? -1 : (n * da.in + d) * ha.in + h;
        *end++ = {source, to.buffer + r * length + (kd * ha.taps + kh) * p.ci};
      }
  }
  // Rows of output share rows of input: each is read and transposed once, and stored to all its places.
  using C = Copy<Element>;
  std::sort(to.copies, end,
            [](const C& a, const C& b) { return a.source != b.source ? a.source < b.source : a.dst < b.dst; });
  constexpr int kTogether = 16;
  for (C* c = to.copies; c < end;) {
    Element* dst[kTogether];
    const int64_t source = c->source;
    int64_t count = 0;
    for (; c < end && c->source == source && count < kTogether; ++c) dst[count++] = c->dst;
    const int64_t h = source % ha.in, d = source / ha.in % da.in, n = source / ha.in / da.in;
    const float* src =
        source < 0 ? nullptr : m.x + n * m.xs.n + group * p.ci * m.xs.c + d * m.xs.axis[0] + h * m.xs.axis[1];
    fill_columns(to, m, {src, nullptr, p.ci}, first_column, outputs, dst, count);
  }
}

template <class Element>
void WindowRows::lay_out_row(const Target<Element>& to, const Operands& m, int64_t group, int64_t row,
                             int64_t first_column, int64_t outputs, Element* dst, const float** sources) const {
  const Axis &da = p.axis[0], &ha = p.axis[1];
  const int64_t oh = row % ha.out, od = row / ha.out % da.out, n = row / ha.out / da.out;
  const float* x = m.x + n * m.xs.n + group * p.ci * m.xs.c;
  const float** end = sources;
  for (int64_t kd = 0; kd < da.taps; ++kd)
    for (int64_t kh = 0; kh < ha.taps; ++kh) {
      const int64_t d = border(od * da.stride + kd * da.dilation - da.lo, da.in, p.mode);
      const int64_t h = border(oh * ha.stride + kh * ha.dilation - ha.lo, ha.in, p.mode);
      for (int64_t ci = 0; ci < p.ci; ++ci)
        *end++ = d < 0 || h < 0 ? nullptr : x + ci * m.xs.c + d * m.xs.axis[0] + h * m.xs.axis[1];
    }
  fill_columns(to, m, {nullptr, sources, column_length}, first_column, outputs, &dst, 1);
}

template <class Element>
void WindowRows::fill_columns(const Target<Element>& to, const Operands& m, const Rows& from, int64_t first_column,
                              int64_t outputs, Element* const* dst, int64_t copies) const {
  const Axis& a = p.axis[2];
  const bool packed = step < a.stride;  // disjoint windows: buffer column j is not source column first + j
  const int64_t total = columns(outputs);
  auto source_of = [&](int64_t j) {
    return packed ? (first_column + j / step) * a.stride + j % step - a.lo : first_column * a.stride + j - a.lo;
  };
  auto zero_columns = [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < copies; ++t)
      for (int64_t j = begin; j < end; ++j)
        for (int part = 0; part < kParts<Element>; ++part)
          std::fill_n(dst[t] + part * to.plane + j * column_stride, from.rows, Element{});
  };
  auto copy_columns = [&](int64_t begin, int64_t count, int64_t source, int64_t distance) {
    constexpr int kTogether = 16;
    Element* at[kTogether];
    for (int64_t t = 0; t < copies; ++t) at[t] = dst[t] + begin * column_stride;
    PackArgsOf<Element> args{from.src, m.xs.c, distance * m.xs.axis[2], from.rows, count, at, copies, column_stride};
    args.row_sources = from.row_sources;
    args.shift = source * m.xs.axis[2];
    args.ahead = m.xs.axis[1];
    args.plane = to.plane;
    args.unusual = to.unusual;
    to.pack(args);
  };
  if (!from.src && !from.row_sources) return zero_columns(0, total);
  for (int64_t j = 0; j < total;) {
    const int64_t at = source_of(j);
    if (at < 0 || at >= a.in) {
      const int64_t inside = border(at, a.in, p.mode);
      if (inside < 0)
        zero_columns(j, j + 1);
      else
        copy_columns(j, 1, inside, 1);
      ++j;
      continue;
    }
    // As many columns as follow each other at a constant distance.
    const int64_t distance = packed && step == 1 ? a.stride : 1;
    int64_t count = (a.in - 1 - at) / distance + 1;
    if (packed && step > 1) count = std::min(count, step - j % step);
    count = std::min(count, total - j);
    copy_columns(j, count, at, distance);
    j += count;
  }
}

template void WindowRows::lay_out(const Target<float>&, const Operands&, int64_t, int64_t, int64_t, int64_t,
                                  int64_t) const;
template void WindowRows::lay_out(const Target<Part>&, const Operands&, int64_t, int64_t, int64_t, int64_t,
                                  int64_t) const;

}  // namespace omniconv::conv
