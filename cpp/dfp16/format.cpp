// dfp16/format.cpp -- quantise, dequantise, and the random numbers of stochastic rounding
#include "dfp16/format.hpp"

#include <algorithm>
#include <atomic>
#include <limits>
#include <string>

#include "core/thread_pool.hpp"
#include "dfp16/kernels.hpp"

namespace omniconv::dfp16 {
namespace {

constexpr int64_t kChunk = 65536;  // elements a thread takes at a time

// Philox4x32-10: four random words from a counter and a key (Salmon et al., SC 2011).
struct Philox {
  uint32_t key[2];
  uint64_t stream;

  void operator()(uint64_t block, uint32_t (&out)[4]) const {
    uint32_t c[4] = {uint32_t(block), uint32_t(block >> 32), uint32_t(stream), uint32_t(stream >> 32)};
    uint32_t k[2] = {key[0], key[1]};
    for (int round = 0; round < 10; ++round) {
      const uint64_t p = uint64_t{0xD2511F53} * c[0], q = uint64_t{0xCD9E8D57} * c[2];
      const uint32_t next[4] = {uint32_t(q >> 32) ^ c[1] ^ k[0], uint32_t(q), uint32_t(p >> 32) ^ c[3] ^ k[1],
                                uint32_t(p)};
      std::copy(next, next + 4, c);
      k[0] += 0x9E3779B9;
      k[1] += 0xBB67AE85;
    }
    std::copy(c, c + 4, out);
  }
};

// Element [o][g][i] of the dense tensor has exponent g.
struct Split {
  int64_t groups = 1, inner = 1, total = 0;
  int64_t group_of(int64_t element) const { return element / inner % groups; }
};

Split split_of(Granularity granularity, const TensorView& x) {
  Split s;
  s.total = x.size();
  int64_t behind_first = 1;
  for (int i = 1; i < x.ndim; ++i) behind_first *= x.shape[i];
  switch (granularity) {
    case Granularity::tensor: s.inner = s.total; break;
    case Granularity::image:
      s.groups = x.shape[0];
      s.inner = behind_first;
      break;
    case Granularity::channel:
      if (x.ndim < 2)
        throw Error(Code::invalid_argument,
                    "granularity is 'channel'; x has no axis 1, its shape is " + shape_string(x.shape.data(), x.ndim));
      s.groups = x.shape[1];
      for (int i = 2; i < x.ndim; ++i) s.inner *= x.shape[i];
      break;
    case Granularity::row:
      s.inner = x.shape[x.ndim - 1];
      for (int i = 0; i + 1 < x.ndim; ++i) s.groups *= x.shape[i];
      break;
  }
  s.inner = std::max<int64_t>(s.inner, 1);
  return s;
}

void check_dense(const char* argument, const TensorView& v) {
  int64_t dense = 1;
  for (int i = v.ndim - 1; i >= 0; --i) {
    if (v.shape[i] > 1 && v.strides[i] != dense)
      throw Error(Code::invalid_argument, std::string(argument) + " is not dense in row-major order");
    dense *= v.shape[i];
  }
}

void check_same_shape(const TensorView& x, const char* argument, const TensorView& v) {
  if (v.ndim != x.ndim || !std::equal(v.shape.begin(), v.shape.begin() + v.ndim, x.shape.begin()))
    throw Error(Code::invalid_argument, std::string(argument) + " has shape " + shape_string(v.shape.data(), v.ndim) +
                                            "; expected is " + shape_string(x.shape.data(), x.ndim));
}

void check_type(const char* argument, const TensorView& v, DType dtype) {
  if (v.dtype != dtype)
    throw Error(Code::type_error,
                std::string(argument) + " has dtype " + name(v.dtype) + "; expected is " + name(dtype));
}

void check_exponent(const TensorView& e, int64_t count) {
  check_type("exponent", e, DType::int32);
  check_dense("exponent", e);
  if (e.ndim != 1 || e.shape[0] != count)
    throw Error(Code::invalid_argument, "exponent has shape " + shape_string(e.shape.data(), e.ndim) +
                                            "; expected is (" + std::to_string(count) + ",)");
}

// body(first, end, group) for pieces of one group, in parallel.
template <class Body>
void for_pieces(const Split& s, Body&& body) {
  parallel_for((s.total + kChunk - 1) / kChunk, [&](int64_t task, int) {
    const int64_t end = std::min(s.total, (task + 1) * kChunk);
    for (int64_t at = task * kChunk; at < end;) {
      const int64_t next = std::min(end, (at / s.inner + 1) * s.inner);
      body(at, next, s.group_of(at));
      at = next;
    }
  });
}

void raise_to(std::atomic<uint64_t>& most, uint64_t value) {
  uint64_t seen = most.load(std::memory_order_relaxed);
  while (seen < value && !most.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

uint64_t magnitude(int64_t v) { return v < 0 ? uint64_t{0} - uint64_t(v) : uint64_t(v); }

constexpr int32_t kInfinity = 0x7f800000;

uint64_t largest(const float* x, int64_t first, int64_t end, bool saturate) {
  const int32_t bits = kernels().max_bits(x + first, end - first, 1);
  if (bits < kInfinity) return uint64_t(bits);
  if (!saturate)
    throw Error(Code::invalid_argument, "x holds NaN or infinity; pass nonfinite='saturate' to allow them");
  uint64_t most = 0;
  for (int64_t i = first; i < end; ++i)
    if (std::isfinite(x[i])) most = std::max(most, uint64_t(kernels().max_bits(x + i, 1, 1)));
  return most;
}
uint64_t largest(const int64_t* x, int64_t first, int64_t end, bool) {
  uint64_t most = 0;
  for (int64_t i = first; i < end; ++i) most = std::max(most, magnitude(x[i]));
  return most;
}

int32_t exponent_of(uint64_t bits, const Format& f, const float*) {
  const uint32_t word = uint32_t(bits);
  float value;
  static_assert(sizeof value == sizeof word);
  __builtin_memcpy(&value, &word, sizeof value);
  return exponent_for(value, f.bits, f.rounding);
}
int32_t exponent_of(uint64_t most, const Format& f, const int64_t*) {
  const int length = most == 0 ? 0 : 64 - __builtin_clzll(most);
  int32_t shift = std::max(0, length - f.bits);
  if (shift == 0 || f.rounding == Rounding::toward_zero) return shift;
  // Carries beyond the largest mantissa: from half a unit on where it is even (an odd one rounds up), from any
  // fraction where rounding is stochastic.
  const uint64_t whole = most >> shift, rest = most & ((uint64_t{1} << shift) - 1), half = uint64_t{1} << (shift - 1);
  const bool up = f.rounding == Rounding::stochastic ? rest > 0 : rest >= half;
  return int64_t(whole) == largest_mantissa(f.bits) && up ? shift + 1 : shift;
}

struct Rounder {
  Rounding rounding;
  int64_t limit;
  int32_t exponent;

  int16_t clamp(double v) const { return int16_t(std::clamp(v, -double(limit), double(limit))); }

  int16_t operator()(float x, uint32_t random) const {
    if (std::isnan(x)) return 0;
    if (std::isinf(x)) return clamp(x);
    const double v = std::ldexp(double(x), -exponent);
    switch (rounding) {
      case Rounding::toward_zero: return clamp(std::trunc(v));
      case Rounding::stochastic: return clamp(std::floor(v + random * 0x1p-32));
      default: return clamp(std::nearbyint(v));
    }
  }
  // x = q 2^exponent + rest, in integers.
  int16_t operator()(int64_t x, uint32_t random) const {
    if (exponent <= 0) return clamp(std::ldexp(double(x), -std::max(exponent, -64)));
    if (exponent > 62) return 0;
    const uint64_t size = magnitude(x), unit = uint64_t{1} << exponent;
    uint64_t q = size >> exponent, rest = size & (unit - 1);
    // Down in magnitude for negative numbers is up in value: the random number is turned round.
    const uint64_t drawn = x < 0 ? 0xffffffffu - uint64_t(random) : uint64_t(random);
    if (rounding == Rounding::nearest_even)
      q += rest > unit / 2 || (rest == unit / 2 && (q & 1));
    else if (rounding == Rounding::stochastic)
      q += uint64_t((static_cast<unsigned __int128>(drawn) * unit >> 32) + rest) >= unit;
    return clamp(x < 0 ? -double(q) : double(q));
  }
};

template <class T>
void quantize_dense(const T* x, const Split& s, const Format& f, int16_t* m, int32_t* exponents, int32_t base) {
  if (!f.given_exponents) {
    std::vector<std::atomic<uint64_t>> most(size_t(s.groups));
    for_pieces(s,
               [&](int64_t first, int64_t end, int64_t g) { raise_to(most[g], largest(x, first, end, f.saturate)); });
    for (int64_t g = 0; g < s.groups; ++g) exponents[g] = exponent_of(most[g], f, x) + base;
  }
  const Philox philox{{uint32_t(f.seed), uint32_t(f.seed >> 32)}, f.stream};
  for_pieces(s, [&](int64_t first, int64_t end, int64_t g) {
    const Rounder rounder{f.rounding, largest_mantissa(f.bits), exponents[g] - base};
    if constexpr (std::is_same_v<T, float>) {
      if (f.rounding == Rounding::nearest_even && !f.given_exponents && !f.saturate) {
        FillArgs fill{x + first, false, 0, 1, 1, end - first, m + first, 0, {}};
        factors_of(exponents[g], fill.factor);
        return kernels().fill(fill);
      }
    }
    uint32_t words[4] = {};
    for (int64_t i = first; i < end; ++i) {
      if (f.rounding == Rounding::stochastic && (i % 4 == 0 || i == first)) philox(uint64_t(i / 4), words);
      m[i] = rounder(x[i], words[i % 4]);
    }
  });
}

template <class T>
std::vector<T> dense_copy(const TensorView& x) {
  std::vector<T> copy(size_t(x.size()));
  int64_t at[kMaxDims] = {}, from = 0;
  for (T& element : copy) {
    element = static_cast<const T*>(x.data)[from];
    for (int axis = x.ndim - 1; axis >= 0; --axis) {
      from += x.strides[axis];
      if (++at[axis] < x.shape[axis]) break;
      from -= x.strides[axis] * x.shape[axis];
      at[axis] = 0;
    }
  }
  return copy;
}

bool is_dense(const TensorView& v) {
  int64_t dense = 1;
  for (int i = v.ndim - 1; i >= 0; --i) {
    if (v.shape[i] > 1 && v.strides[i] != dense) return false;
    dense *= v.shape[i];
  }
  return true;
}

template <class T>
void quantize_any(const TensorView& x, const Format& f, const TensorView& mantissa, const TensorView& exponent,
                  int32_t base) {
  const Split s = split_of(f.granularity, x);
  auto* m = static_cast<int16_t*>(mantissa.data);
  auto* e = static_cast<int32_t*>(exponent.data);
  if (is_dense(x)) return quantize_dense(static_cast<const T*>(x.data), s, f, m, e, base);
  const std::vector<T> copy = dense_copy<T>(x);
  quantize_dense(copy.data(), s, f, m, e, base);
}

template <class T>
void dequantize_dense(const int16_t* m, const Split& s, const int32_t* exponents, T* out) {
  for_pieces(s, [&](int64_t first, int64_t end, int64_t g) {
    const double scale = std::ldexp(1.0, std::clamp(exponents[g], -1060, 1000));
    for (int64_t i = first; i < end; ++i) out[i] = T(m[i] * scale);
  });
}

}  // namespace

int64_t exponent_count(Granularity granularity, const TensorView& x) { return split_of(granularity, x).groups; }

void quantize(const TensorView& x, const Format& f, const TensorView& mantissa, const TensorView& exponent,
              int32_t base) {
  if (f.bits < 2 || f.bits > 15)
    throw Error(Code::invalid_argument, "bits is " + std::to_string(f.bits) + "; allowed are 2 to 15");
  check_type("mantissa", mantissa, DType::int16);
  check_same_shape(x, "mantissa", mantissa);
  check_dense("mantissa", mantissa);
  check_exponent(exponent, split_of(f.granularity, x).groups);
  if (x.dtype == DType::float32)
    quantize_any<float>(x, f, mantissa, exponent, base);
  else if (x.dtype == DType::int64)
    quantize_any<int64_t>(x, f, mantissa, exponent, base);
  else
    throw Error(Code::type_error, std::string("x has dtype ") + name(x.dtype) + "; supported are float32 and int64");
}

void dequantize(const TensorView& mantissa, const TensorView& exponent, Granularity granularity,
                const TensorView& out) {
  check_type("mantissa", mantissa, DType::int16);
  check_dense("mantissa", mantissa);
  check_same_shape(mantissa, "out", out);
  check_dense("out", out);
  const Split s = split_of(granularity, mantissa);
  check_exponent(exponent, s.groups);
  const auto* m = static_cast<const int16_t*>(mantissa.data);
  const auto* e = static_cast<const int32_t*>(exponent.data);
  if (out.dtype == DType::float32)
    dequantize_dense(m, s, e, static_cast<float*>(out.data));
  else if (out.dtype == DType::float64)
    dequantize_dense(m, s, e, static_cast<double*>(out.data));
  else
    throw Error(Code::type_error,
                std::string("out has dtype ") + name(out.dtype) + "; supported are float32 and float64");
}

}  // namespace omniconv::dfp16
