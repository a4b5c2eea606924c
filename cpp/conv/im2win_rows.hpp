// conv/im2win_rows.hpp -- rows of input in window order
//
// Im2win (Lu et al., HPEC 2022) stores, for one row of output, the Kh input rows it needs as [column][kd][kh][ci]:
// a window of Kw columns is then contiguous, and neighbouring windows overlap instead of being copied, so the
// memory is Sw / Kw of im2col's. Here the border, any layout of the input and vertical dilation are absorbed too.
#pragma once

#include <algorithm>
#include <cstdint>

#include "conv/blocks.hpp"

namespace omniconv::conv {

struct WindowRows {
  const Problem& p;
  int64_t step;           // columns of the buffer between neighbouring windows
  int64_t column_length;  // kd * kh * ci
  int64_t column_stride;  // the same, padded where windows would fall on one set of the cache

  // `spread`: pad so, for buffers of float.
  explicit WindowRows(const Problem& problem, bool spread = true);

  int64_t columns(int64_t outputs) const { return (outputs - 1) * step + p.axis[2].window(); }
  int64_t row_floats(int64_t outputs) const { return columns(outputs) * column_stride; }
  bool contiguous() const { return p.axis[2].dilation == 1 && column_stride == column_length; }
  Windows windows(const float* const* rows) const;

  template <class Element>
  struct Copy {
    int64_t source;  // flattened (n, d, h) of the input, -1 for a row of zeros
    Element* dst;
  };
  // Where rows go: float, or Part parts `plane` elements apart.
  template <class Element>
  struct Target {
    void (*pack)(const PackArgsOf<Element>&);
    Element* buffer;
    Copy<Element>* copies;  // copy_count(rows) entries of scratch
    int64_t plane = 0;
    uint32_t* unusual = nullptr;
  };
  int64_t copy_count(int64_t rows) const { return std::max(rows, p.ci) * p.axis[0].taps * p.axis[1].taps; }
  size_t copy_bytes(int64_t rows) const { return copy_count(rows) * sizeof(Copy<float>); }

  // Lays out `rows` rows of `outputs` windows, the first at (first_row, first_column), row_floats apart.
  template <class Element>
  void lay_out(const Target<Element>& to, const Operands& m, int64_t group, int64_t first_row, int64_t rows,
               int64_t first_column, int64_t outputs) const;

 private:
  // Source rows of one input row, or of every (kd, kh, ci) of one output row.
  struct Rows {
    const float* src;                 // null: zeros
    const float* const* row_sources;  // null: ci rows from src on
    int64_t rows;
  };
  bool few_channels() const;
  template <class Element>
  void lay_out_row(const Target<Element>& to, const Operands& m, int64_t group, int64_t row, int64_t first_column,
                   int64_t outputs, Element* dst, const float** sources) const;
  template <class Element>
  void fill_columns(const Target<Element>& to, const Operands& m, const Rows& from, int64_t first_column,
                    int64_t outputs, Element* const* dst, int64_t copies) const;
};

}  // namespace omniconv::conv
