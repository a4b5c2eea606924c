// sparse/masked_planes.cpp -- one channel per group in the cells that are seen: lanes are the pixels of a row
//
// For planes (NCHW) whose cells are half a vector wide or more; neighbours that are seen pass together. A task is some
// channels of one image: each plane is copied to a strip with zeros for borders and for what is hidden, which stay from
// one channel to the next, and the planar tiles of dense convolution run over the rows of the cells that are seen.
// Nothing is transposed; a plane of 62 x 62 with its border is 15 KiB.
#include <algorithm>
#include <cstring>
#include <vector>

#include "conv/kernels.hpp"
#include "conv/planar.hpp"
#include "core/thread_pool.hpp"
#include "core/workspace.hpp"
#include "sparse/masked.hpp"

namespace omniconv::sparse {
namespace {

constexpr int64_t kStrip = 1 << 16;  // floats: half of L2
constexpr int64_t kTogether = 16;    // channels of a task

class Planes {
 public:
  explicit Planes(const MaskedDepthwise& p)
      : p_(p),
        x_(p.x),
        y_(p.y),
        k_(conv::kernels()),
        rows_(p.h.out - 1 + p.h.window()),
        columns_(p.w.out - 1 + p.w.window()),
        floats_((rows_ * columns_ + 2 * conv::kMaxPlanarVectors * k_.lanes + 15) / 16 * 16) {
    const conv::FinishArgs& f = p.finish;
    plain_ = !f.bias && !f.scale && !p.residual.defined() && f.activation == Activation::none;
    for (int64_t j = 0; j < p.w.taps; ++j)
      for (int64_t i = 0; i < p.h.taps; ++i) offsets_.push_back(i * columns_ + j);
  }

  int64_t tasks() const { return p_.mask.batch * groups(); }

  void task(int64_t task) const {
    const int64_t n = task / groups(), first = task % groups() * kTogether, taps = int64_t(offsets_.size());
    const ScopedWorkspace scratch(
        size_t(floats_ + taps + 16 + conv::kMaxPlanarRows * conv::kMaxPlanarVectors * k_.lanes) * sizeof(float));
    float* strip = static_cast<float*>(scratch.data());
    float *w = strip + floats_, *sums = w + (taps + 15) / 16 * 16;
    const int64_t height = p_.h.out / p_.mask.rows, width = p_.w.out / p_.mask.columns;
    std::memset(strip, 0, size_t(floats_) * sizeof(float));
    for (int64_t channel = first; channel < std::min(first + kTogether, y_.channels); ++channel) {
      fill(n, channel, strip);
      pack(channel, w);
      for (int64_t row = 0; row < p_.mask.rows; ++row) {
        each_seen_run(p_.mask, n, row, width, [&](int64_t begin, int64_t end) {
          tiles({n, channel, row * height, height, begin, end}, strip, w, sums);
        });
        each_hidden_run(p_.mask, n, row, width, [&](int64_t begin, int64_t end) {
          float* y = y_.data + n * y_.strides.n + channel * y_.strides.c + row * height * y_.strides.axis[1];
          for (int64_t i = 0; i < height; ++i, y += y_.strides.axis[1]) std::fill(y + begin, y + end, 0.0f);
        });
      }
    }
  }

 private:
  struct Run {
    int64_t n, channel, row, rows, begin, end;
  };

  int64_t groups() const { return conv::ceil_div(y_.channels, kTogether); }

  void fill(int64_t n, int64_t channel, float* strip) const {
    const int64_t height = p_.h.in / p_.mask.rows, width = p_.w.in / p_.mask.columns;
    const float* from = x_.data + n * x_.strides.n + channel * x_.strides.c;
    for (int64_t row = 0; row < p_.mask.rows; ++row)
      each_seen_run(p_.mask, n, row, width, [&](int64_t begin, int64_t end) {
        begin = std::max(begin, -p_.w.lo), end = std::min(end, columns_ - p_.w.lo);
        const int64_t last = std::min((row + 1) * height, rows_ - p_.h.lo);
        for (int64_t i = std::max(row * height, -p_.h.lo); begin < end && i < last; ++i)
          std::memcpy(strip + (i + p_.h.lo) * columns_ + p_.w.lo + begin, from + i * x_.strides.axis[1] + begin,
                      size_t(end - begin) * sizeof(float));
      });
  }

  void pack(int64_t channel, float* to) const {
    const float* from = p_.weights.channel(channel);
    for (size_t t = 0; t < offsets_.size(); ++t, from += p_.weights.chunk()) *to++ = *from;
  }

  void tiles(const Run& r, const float* strip, const float* w, float* sums) const {
    float* y = y_.data + r.n * y_.strides.n + r.channel * y_.strides.c;
    conv::PlanarArgs a{};
    a.offsets = offsets_.data(), a.count = int64_t(offsets_.size()), a.x_row = columns_, a.slide = p_.h.taps;
    a.w = w, a.w_term = 1;
    a.c_row = plain_ ? y_.strides.axis[1] : conv::kMaxPlanarVectors * k_.lanes;
    for (int64_t column = r.begin; column < r.end; column += a.lanes) {
      const int64_t v = std::min<int64_t>(conv::kMaxPlanarVectors, conv::ceil_div(r.end - column, k_.lanes));
      a.lanes = int(std::min(v * k_.lanes, r.end - column));
      // One vector wide, a tile needs more rows than it can share loads among: sums wait for one another.
      const bool slides = v > 1;
      const auto mode = slides ? conv::PlanarMode::rows_slide : conv::PlanarMode::rows_are_rows;
      const conv::Cuts down(r.rows, slides ? std::min<int64_t>(k_.planar.rows[v], p_.h.taps) : k_.planar.rows[v]);
      for (int64_t i = 0, row = r.row; i < down.count; row += down.size(i++)) {
        a.x = strip + row * columns_ + column;
        a.c = plain_ ? y + row * y_.strides.axis[1] + column : sums;
        k_.planar.tile[int(mode)][v][down.size(i)](a);
        if (!plain_) finish(r, row, down.size(i), column, a);
      }
    }
  }

  void finish(const Run& r, int64_t row, int64_t rows, int64_t column, const conv::PlanarArgs& a) const {
    conv::PlanarFinishArgs f{};
    f.c = a.c, f.c_row = a.c_row, f.rows = rows, f.pixels = a.lanes;
    f.y = y_.data + r.n * y_.strides.n + r.channel * y_.strides.c + row * y_.strides.axis[1] + column;
    f.y_row = y_.strides.axis[1], f.y_pixel = 1;
    if (p_.residual.defined()) {
      const conv::Strides s = conv::strides_of(p_.residual);
      f.residual = static_cast<const float*>(p_.residual.data) + r.n * s.n + r.channel * s.c + row * s.axis[1] +
                   column * s.axis[2];
      f.r_row = s.axis[1], f.r_pixel = s.axis[2];
    }
    f.bias = p_.finish.bias ? p_.finish.bias + r.channel : nullptr;
    f.scale = p_.finish.scale ? p_.finish.scale + r.channel : nullptr;
    f.activation = p_.finish.activation, f.negative_slope = p_.finish.negative_slope;
    k_.planar.finish(f);
  }

  const MaskedDepthwise& p_;
  Images x_, y_;
  const conv::Kernels& k_;
  int64_t rows_, columns_, floats_;
  std::vector<int64_t> offsets_;
  bool plain_ = false;
};

}  // namespace

bool masked_planes_fit(const MaskedDepthwise& p) {
  const int64_t rows = p.h.out - 1 + p.h.window(), columns = p.w.out - 1 + p.w.window();
  return p.x.strides[3] == 1 && p.y.strides[3] == 1 && p.h.stride == 1 && p.w.stride == 1 && p.h.dilation == 1 &&
         p.w.dilation == 1 && p.h.taps * p.w.taps <= conv::kSumBlock &&
         2 * (p.w.out / p.mask.columns) >= conv::kernels().lanes && rows * columns <= kStrip;
}

void masked_planes(const MaskedDepthwise& problem) {
  const Planes planes(problem);
  parallel_for(planes.tasks(), [&](int64_t task, int) { planes.task(task); });
}

}  // namespace omniconv::sparse
