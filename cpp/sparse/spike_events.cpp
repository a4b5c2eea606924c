// sparse/spike_events.cpp -- finds the counts that are not zero, eight bytes at a time
#include "sparse/spike_events.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/thread_pool.hpp"

namespace omniconv::sparse {
namespace {

constexpr int64_t kRows = 1024;  // of a task

// The top bit of each byte that is not zero, of n <= 8 bytes; byte i is bits 8 i to 8 i + 7.
uint64_t fired_bytes(const uint8_t* from, int64_t n) {
  uint64_t word = 0;
  if (n == 8) {
    std::memcpy(&word, from, 8);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  } else {
    for (int64_t i = 0; i < n; ++i) word |= uint64_t(from[i]) << (8 * i);
  }
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7f;
  return (((word & kLow) + kLow) | word) & ~kLow;
}

int64_t count_row(const uint8_t* row, int64_t channels) {
  int64_t fired = 0;
  for (int64_t c = 0; c < channels; c += 8) {
    const uint64_t mask = fired_bytes(row + c, std::min<int64_t>(8, channels - c));
    fired += int64_t(((mask >> 7) * 0x0101010101010101) >> 56);  // bytes of 1, added up in the top one
  }
  return fired;
}

void list_row(const uint8_t* row, int64_t channels, SpikeEvent* to) {
  bool second = false;
  for (int64_t c = 0; c < channels; c += 8)
    for (uint64_t mask = fired_bytes(row + c, std::min<int64_t>(8, channels - c)); mask; mask &= mask - 1) {
      const int64_t channel = c + std::countr_zero(mask) / 8;
      if (!second) *to = {};
      to->channel[second] = uint16_t(channel);
      to->count[second] = row[channel];
      to += second;
      second = !second;
    }
}

}  // namespace

int64_t count_events(const uint8_t* counts, int64_t rows, int64_t channels, int64_t row_step) {
  int64_t fired = 0;
  for (int64_t i = 0; i < rows; ++i) fired += count_row(counts + i * row_step, channels);
  return fired;
}

EventLists::EventLists(const uint8_t* counts, int64_t rows, int64_t channels, int64_t row_step)
    : begin_(size_t(rows + 1) * sizeof(int64_t)) {
  int64_t* begin = static_cast<int64_t*>(begin_.data());
  const auto each_row = [&](auto&& body) {
    parallel_for((rows + kRows - 1) / kRows, [&](int64_t task, int) {
      for (int64_t i = task * kRows; i < std::min(rows, (task + 1) * kRows); ++i) body(i, counts + i * row_step);
    });
  };
  begin[0] = 0;
  each_row([&](int64_t i, const uint8_t* row) { begin[i + 1] = (count_row(row, channels) + 1) / 2; });
  for (int64_t i = 0; i < rows; ++i) begin[i + 1] += begin[i];
  events_ = AlignedBuffer(size_t(begin[rows]) * sizeof(SpikeEvent));
  each_row([&](int64_t i, const uint8_t* row) {
    list_row(row, channels, static_cast<SpikeEvent*>(events_.data()) + begin[i]);
  });
}

}  // namespace omniconv::sparse
