// dfp16/pack.cpp -- dense weights to panels
#include <algorithm>
#include <cstring>

#include "core/thread_pool.hpp"
#include "dfp16/product.hpp"

namespace omniconv::dfp16 {
namespace {

int64_t panels_of(const Shape& s, Form form, const Kernels& k) {
  const int64_t columns = panel_columns(form, k);
  return (s.columns + columns - 1) / columns;
}

int64_t panel_elements(const Shape& s, Form form, const Kernels& k) {
  if (form == Form::tiles) return s.column_row() * kTile;  // two bytes each
  return s.terms() * k.lanes;
}

// Signed digits of base 256: w = 256 high + low with low in [-128, 127].
void split_digits(const int16_t* w, int64_t count, int16_t* high, int16_t* low) {
  for (int64_t i = 0; i < count; ++i) {
    low[i] = int8_t(uint8_t(w[i]));
    high[i] = int16_t((int32_t(w[i]) - low[i]) / 256);
  }
}

void pack_tiles(const int16_t* rows, int64_t row, int64_t columns, uint8_t* to) {
  for (int64_t s = 0; s < row / kTileDepth; ++s, to += kTileBytes)
    for (int64_t n = 0; n < kTile; ++n)
      for (int64_t k = 0; k < kTileDepth; ++k) {
        const uint16_t w = n < columns ? uint16_t(rows[n * row + s * kTileDepth + k]) : 0;
        uint8_t* at = to + k / 4 * (4 * kTile) + n * 4 + k % 4;
        at[0] = uint8_t(w >> 8);
        at[kTile * kTileDepth] = uint8_t(w);
      }
}

}  // namespace

int64_t panel_columns(Form form, const Kernels& k) {
  return form == Form::pairs ? k.lanes : form == Form::digits ? k.width : kTile;
}

int64_t packed_elements(const Shape& s, Form form, const Kernels& k) {
  return s.groups * panels_of(s, form, k) * panel_elements(s, form, k);
}

int64_t pack_room(const Shape& s, Form form, const Kernels& k) {
  return form == Form::tiles ? 0 : s.column_row() * k.lanes;
}

void pack(const Shape& s, Form form, const int16_t* dense, const Kernels& k, int threads, int16_t* room,
          int16_t* packed) {
  const int64_t panels = panels_of(s, form, k), columns = panel_columns(form, k), row = s.column_row();
  parallel_for(s.groups * panels, threads, [&](int64_t task, int worker) {
    const int64_t first = task % panels * columns, count = std::min(columns, s.columns - first);
    const int16_t* rows = dense + (task / panels * s.columns + first) * row;
    int16_t* to = packed + task * panel_elements(s, form, k);
    if (form == Form::tiles) return pack_tiles(rows, row, count, reinterpret_cast<uint8_t*>(to));
    int16_t* own = room + worker * pack_room(s, form, k);
    if (form == Form::digits) {
      for (int64_t c = 0; c < count; ++c) split_digits(rows + c * row, row, own + c * row, own + (k.width + c) * row);
      for (int64_t c = count; c < k.width; ++c)
        for (int64_t half : {c, c + k.width}) std::memset(own + half * row, 0, size_t(row) * sizeof(int16_t));
      rows = own;
    } else if (count < columns) {
      std::memcpy(own, rows, size_t(count * row) * sizeof(int16_t));
      std::memset(own + count * row, 0, size_t((columns - count) * row) * sizeof(int16_t));
      rows = own;
    }
    for (int64_t place : {int64_t{0}, int64_t(k.width)})
      k.pack_pairs(rows + place * row, row, s.terms() / 2, k.lanes, place, to);
  });
}

}  // namespace omniconv::dfp16
