// sparse/masked_depthwise.cpp -- one channel per group in the cells that are seen: lanes are channels
//
// A task is 64 channels, or two vectors of planes, of some rows of cells of one image. Its input is copied to strips of
// two vectors of channels, borders and what is hidden as zeros; then every tap of any pixel is at one offset from it,
// so a tile of six pixels is any six that are seen, wherever they are. Strips are that narrow because each element is
// read once per tap: the rows of a window fit L1.
#include <algorithm>
#include <cstring>
#include <vector>

#include "conv/blocks.hpp"
#include "conv/kernels.hpp"
#include "core/thread_pool.hpp"
#include "core/workspace.hpp"
#include "sparse/kernels.hpp"
#include "sparse/masked.hpp"

namespace omniconv::sparse {
namespace {

constexpr int64_t kLine = 16;        // floats; a chunk of channels is a whole number of them
constexpr int64_t kGroup = 64;       // channels of a task where they are adjacent: 4 lines of a pixel
constexpr int64_t kBand = 1 << 16;   // floats of a task's strips: half of L2
constexpr int64_t kPiece = 64;       // pixels that are transposed at once: in L1 while their channels pass
constexpr int64_t kStrip = 1 << 19;  // the most

struct Strip {
  int64_t rows, columns;  // of input, border included
  Strip(int64_t rows_of_cells, const conv::Axis& h, const conv::Axis& w, int64_t cell_rows)
      : rows((cell_rows * (h.out / rows_of_cells) - 1) * h.stride + h.window()),
        columns((w.out - 1) * w.stride + w.window()) {}
  int64_t pixels() const { return rows * columns; }
};

class Nest {
 public:
  explicit Nest(const MaskedDepthwise& p)
      : p_(p),
        x_(p.x),
        y_(p.y),
        chunk_(p.weights.chunk()),
        group_(x_.strides.c == 1 ? kGroup : chunk_),
        groups_(conv::ceil_div(y_.channels, group_)),
        band_(p.mask.rows) {
    while (band_ > 1 && Strip(p.mask.rows, p.h, p.w, band_).pixels() * group_ > kBand) band_ = conv::ceil_div(band_, 2);
    bands_ = conv::ceil_div(p.mask.rows, band_);
    const int64_t columns = Strip(p.mask.rows, p.h, p.w, 1).columns;
    for (int64_t j = 0; j < p.w.taps; ++j)  // in the order of the planar tiles: the bits are theirs
      for (int64_t i = 0; i < p.h.taps; ++i)
        offsets_.push_back((i * p.h.dilation * columns + j * p.w.dilation) * chunk_);
    const conv::FinishArgs& f = p.finish;
    const bool plain = !f.bias && !f.scale && !p.residual.defined() && f.activation == Activation::none;
    if (plain && y_.strides.c == 1)
      result_ = Result::in_place;
    else if (y_.strides.axis[2] == 1)
      result_ = Result::whole_rows;
    clears_ = plain && result_ == Result::whole_rows;
  }

  int64_t tasks() const { return p_.mask.batch * bands_ * groups_; }
  bool clears_hidden() const { return clears_; }

  void task(int64_t task) const {
    Task t{};
    t.group = task % groups_ * group_, t.row = task / groups_ % bands_ * band_, t.n = task / groups_ / bands_;
    t.rows = std::min(band_, p_.mask.rows - t.row), t.channels = std::min(group_, y_.channels - t.group);
    each_run(t, [&](int64_t, int64_t begin, int64_t end) { t.seen += end - begin; });
    if (t.seen == 0 && !clears_) return;
    const int64_t height = p_.h.out / p_.mask.rows, taps = p_.h.taps * p_.w.taps;
    t.top = t.row * height, t.pixels = result_ == Result::whole_rows ? t.rows * height * p_.w.out : t.seen;
    const Strip strip(p_.mask.rows, p_.h, p_.w, t.rows);
    const int64_t floats = (strip.pixels() + 1) * chunk_, strips = conv::ceil_div(t.channels, chunk_);
    const ScopedWorkspace scratch(size_t(strips * floats + t.pixels * chunk_) * sizeof(float) +
                                  size_t(2 * t.seen + strip.rows * p_.w.in) * sizeof(int64_t));
    float* x = static_cast<float*>(scratch.data());
    float* const sums = x + strips * floats;
    auto** to = reinterpret_cast<float**>(sums + t.pixels * chunk_);
    auto** pixels = static_cast<const float**>(static_cast<void*>(to + t.seen));
    if (t.seen > 0) fill(strip, t, x, reinterpret_cast<int64_t*>(pixels + t.seen));
    for (int64_t first = 0; first < t.channels; first += chunk_, x += floats) {
      const int64_t channel = t.group + first, count = std::min(chunk_, t.channels - first);
      const float* w = p_.weights.channel(channel);
      if (result_ == Result::whole_rows) std::memset(sums, 0, size_t(t.pixels * chunk_) * sizeof(float));
      place(strip, t, channel, x, sums, pixels, to);
      kernels().pixels({pixels, to, t.seen, offsets_.data(), taps, w, chunk_, count});
      finish(t, channel, count, sums);
    }
  }

 private:
  // Where sums go: to y as they are; to rows of a buffer, zeros for what is hidden, that are then transposed; to a
  // buffer that holds what is seen.
  enum class Result { in_place, whole_rows, runs };
  struct Task {
    int64_t n, row, rows, group, channels;  // rows of cells, channels
    int64_t seen, top, pixels;              // outputs; the first row of them; those of the buffer
  };

  // body(row, first column, end) for the runs of outputs that are seen, in order.
  template <class Body>
  void each_run(const Task& t, Body&& body) const {
    const int64_t height = p_.h.out / p_.mask.rows, width = p_.w.out / p_.mask.columns;
    for (int64_t i = t.row * height; i < (t.row + t.rows) * height; ++i)
      each_seen_run(p_.mask, t.n, i / height, width, [&](int64_t begin, int64_t end) { body(i, begin, end); });
  }

  // Of every output that is seen where its window begins and where its sums go.
  void place(const Strip& strip, const Task& t, int64_t channel, const float* x, float* sums, const float** pixels,
             float** to) const {
    float* y = y_.data + t.n * y_.strides.n + channel * y_.strides.c;
    int64_t at = 0;
    each_run(t, [&](int64_t i, int64_t begin, int64_t end) {
      const float* line = x + (i - t.top) * p_.h.stride * strip.columns * chunk_;
      for (int64_t j = begin; j < end; ++j, ++at) {
        pixels[at] = line + j * p_.w.stride * chunk_;
        if (result_ == Result::in_place)
          to[at] = y + i * y_.strides.axis[1] + j * y_.strides.axis[2];
        else
          to[at] = sums + (result_ == Result::runs ? at : (i - t.top) * p_.w.out + j) * chunk_;
      }
    });
  }

  // Strips follow each other, each with a pixel at its end for what is hidden. `places`: room for one per input.
  void fill(const Strip& strip, const Task& t, float* to, int64_t* places) const {
    const int64_t channels = t.channels, top = t.top * p_.h.stride - p_.h.lo;
    const int64_t height = p_.h.in / p_.mask.rows, width = p_.w.in / p_.mask.columns;
    const int64_t step = (strip.pixels() + 1) * chunk_, pixel = x_.strides.axis[2], line = x_.strides.axis[1];
    std::memset(to, 0, size_t(conv::ceil_div(channels, chunk_) * step) * sizeof(float));
    const int64_t begin = std::max<int64_t>(top, 0), rows = std::min(top + strip.rows, p_.h.in) - begin;
    if (rows <= 0) return;
    std::fill_n(places, rows * p_.w.in, strip.pixels() * chunk_);
    const float* from = x_.data + t.n * x_.strides.n + t.group * x_.strides.c + begin * line;
    for (int64_t i = 0; i < rows; ++i)
      each_seen_run(p_.mask, t.n, (begin + i) / height, width, [&](int64_t first, int64_t last) {
        first = std::max(first, -p_.w.lo), last = std::min(last, strip.columns - p_.w.lo);
        const int64_t place = ((begin + i - top) * strip.columns + p_.w.lo) * chunk_;
        for (int64_t j = first; j < last; ++j) {
          if (x_.strides.c == 1) copy_pixel(from + i * line + j * pixel, channels, step, to + place + j * chunk_);
          places[i * p_.w.in + j] = place + j * chunk_;
        }
      });
    if (x_.strides.c == 1) return;
    // Planes: a few rows are transposed at once.
    const int64_t at_once = line == p_.w.in * pixel ? conv::ceil_div(kPiece, p_.w.in) : 1;
    for (int64_t c = 0; c < channels; c += chunk_, to += step)
      for (int64_t i = 0; i < rows; i += at_once) {
        conv::PackArgs a{};
        a.src = from + c * x_.strides.c + i * line, a.row_stride = x_.strides.c, a.column_stride = pixel;
        a.rows = std::min(chunk_, channels - c), a.columns = std::min(at_once, rows - i) * p_.w.in;
        a.dst = &to, a.copies = 1, a.place = places + i * p_.w.in;
        conv::kernels().pack(a);
      }
  }

  void copy_pixel(const float* from, int64_t channels, int64_t step, float* to) const {
    for (int64_t c = 0; c < channels; c += kLine, from += kLine) {
      float* at = to + c / chunk_ * step + c % chunk_;
      if (channels - c >= kLine)
        std::memcpy(at, from, kLine * sizeof(float));
      else
        std::memcpy(at, from, size_t(channels - c) * sizeof(float));
    }
  }

  void finish(const Task& t, int64_t channel, int64_t channels, const float* sums) const {
    if (result_ == Result::in_place) return;
    const auto pixels = [&](int64_t row, int64_t column, int64_t count) {
      conv::FinishArgs f = p_.finish;
      f.c = sums, f.panel = chunk_, f.pixels = count, f.channels = channels;
      f.y_pixel = y_.strides.axis[2], f.y_channel = y_.strides.c;
      f.y = y_.data + t.n * y_.strides.n + channel * f.y_channel + row * y_.strides.axis[1] + column * f.y_pixel;
      if (f.bias) f.bias += channel;
      if (f.scale) f.scale += channel;
      if (p_.residual.defined()) {
        const conv::Strides r = conv::strides_of(p_.residual);
        f.r_pixel = r.axis[2], f.r_channel = r.c;
        f.residual = static_cast<const float*>(p_.residual.data) + t.n * r.n + channel * r.c + row * r.axis[1] +
                     column * f.r_pixel;
      }
      conv::kernels().finish(f);
      sums += count * chunk_;
    };
    if (result_ == Result::runs)
      return each_run(t, [&](int64_t i, int64_t begin, int64_t end) { pixels(i, begin, end - begin); });
    const int64_t width = p_.w.out, rows = t.pixels / width;
    const bool joined = y_.strides.axis[1] == width && !p_.residual.defined();
    const int64_t at_once = joined ? conv::ceil_div(kPiece, width) : 1;
    for (int64_t i = 0; i < rows; i += at_once) pixels(t.top + i, 0, std::min(at_once, rows - i) * width);
  }

  const MaskedDepthwise& p_;
  Images x_, y_;
  int64_t chunk_, group_, groups_;
  int64_t band_, bands_ = 1;
  std::vector<int64_t> offsets_;
  Result result_ = Result::runs;
  bool clears_ = false;
};

}  // namespace

DepthwiseWeights::DepthwiseWeights(const TensorView& w, bool flipped)
    : chunk_(std::max<int64_t>(kLine, 2 * kernels().lanes)), taps_(w.shape[2] * w.shape[3]) {
  const int64_t channels = w.shape[0], kh = w.shape[2], chunks = conv::ceil_div(channels, chunk_);
  floats_ = AlignedBuffer(size_t(chunks * taps_ * chunk_) * sizeof(float));
  parallel_for(chunks, [&](int64_t i, int) {
    float* to = static_cast<float*>(floats_.data()) + i * taps_ * chunk_;
    for (int64_t t = 0; t < taps_; ++t) {
      const int64_t tap = flipped ? taps_ - 1 - t : t;
      const float* from = static_cast<const float*>(w.data) + tap % kh * w.strides[2] + tap / kh * w.strides[3];
      for (int64_t c = i * chunk_; c < (i + 1) * chunk_; ++c) *to++ = c < channels ? from[c * w.strides[0]] : 0.0f;
    }
  });
}

bool masked_depthwise_fits(int64_t rows, const conv::Axis& h, const conv::Axis& w) {
  const Strip s(rows, h, w, 1);
  return double(s.rows) * double(s.columns) * double(kLine) <= double(kStrip);
}

void masked_depthwise(const MaskedDepthwise& problem) {
  if (masked_planes_fit(problem)) return masked_planes(problem);
  const Nest nest(problem);
  parallel_for(nest.tasks(), [&](int64_t task, int) { nest.task(task); });
  if (!nest.clears_hidden()) clear_hidden(problem.y, problem.mask);
}

}  // namespace omniconv::sparse
