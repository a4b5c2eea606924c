// conv/mlp.cpp -- the MLP block: convolution, norm, product, activation, product, tile by tile
//
// A tile is a run of pixels. The convolution computes the whole rows that it touches, as a smaller problem of its own
// for the algorithm that the whole would take. Of the wide tensor there are kSumBlock channels at a time: what the
// second product makes of them is one block of its sums, so the bits are those of the operations one by one.
// At 56x56 pixels of 96 channels, batch 1, that tensor has 4.8 MB, written and read again, beside 2.4 MB of x and y.
#include "omniconv/mlp.hpp"

#include <algorithm>
#include <string>

#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"
#include "conv/operands.hpp"
#include "conv/work.hpp"
#include "core/thread_pool.hpp"
#include "core/workspace.hpp"
#include "nn/kernels.hpp"
#include "reference/mlp.hpp"

namespace omniconv {
namespace {

using namespace conv;

// Of a tile, in L2 beside the weights that stream through it. Measured with two threads of a Skylake server (1 MiB of
// L2, AVX-512) on the four stages of ConvNeXt-T: 28 to 112 pixels are within 10 % of each other, 168 and more are
// slower.
constexpr size_t kBudget = size_t{448} << 10;
constexpr int64_t kMostPixels = 112;

// Floats between rows: whole lines, an odd number of them, so that the rows of a tile do not share sets of L1.
int64_t spread(int64_t channels) { return (ceil_div(channels, 16) | 1) * 16; }

[[noreturn]] void fail(const std::string& message) { throw Error(Code::invalid_argument, message); }

// Elements between neighbouring pixels of [N, C, *spatial].
int64_t pixel_step(const TensorView& v, const char* argument) {
  int64_t step = 0, count = 1;
  for (int i = v.ndim - 1; i >= 1; --i) {
    const int axis = i == 1 ? 0 : i;  // images after all of their pixels
    if (v.shape[axis] == 1) continue;
    if (count == 1)
      step = v.strides[axis];
    else if (v.strides[axis] != count * step)
      fail(std::string(argument) + " has pixels that are not evenly spaced");
    count *= v.shape[axis];
  }
  return step;
}

void check_adjacent(const TensorView& v, const char* argument) {
  if (v.shape[1] > 1 && v.strides[1] != 1) fail(std::string(argument) + " has channels that are not adjacent");
}

// One pointwise product: its weights as panels, its epilogue as dense vectors.
struct Product {
  Problem problem;
  AlignedBuffer weights;
  std::vector<float> bias, scale;

  const float* panel(int64_t floats) const { return static_cast<const float*>(weights.data()) + floats; }
  const float* bias_at(int64_t c) const { return bias.empty() ? nullptr : bias.data() + c; }
  const float* scale_at(int64_t c) const { return scale.empty() ? nullptr : scale.data() + c; }
};

std::vector<float> copy_of(const TensorView& v) {
  std::vector<float> copy(size_t(v.defined() ? v.shape[0] : 0));
  for (size_t i = 0; i < copy.size(); ++i) copy[i] = static_cast<const float*>(v.data)[int64_t(i) * v.strides[0]];
  return copy;
}

Product make_product(const conv::Kernels& kernels, const TensorView& w, const TensorView& bias,
                     const TensorView& scale) {
  Product p;
  p.problem.ci = w.shape[1];
  p.problem.co = w.shape[0];
  p.weights = AlignedBuffer(packed_floats_aligned(kernels, p.problem) * sizeof(float));
  const WeightView view{0, 0, w.strides[0], w.strides[1], {1, 1, 1}};
  pack_weights(kernels, p.problem, static_cast<const float*>(w.data), view, static_cast<float*>(p.weights.data()));
  p.bias = copy_of(bias);
  p.scale = copy_of(scale);
  return p;
}

// The convolution before the products, and the algorithm that does a few rows of it.
struct First {
  Problem problem;
  const Algorithm* algorithm = nullptr;
  AlignedBuffer weights;
  std::vector<float> bias, scale;

  int64_t columns() const { return problem.axis[2].out; }
  // Rows that a tile of so many pixels touches at most; tiles of whole rows begin with one.
  int64_t rows(int64_t pixels) const {
    return std::min(problem.rows(), pixels / columns() + (pixels % columns() == 0 ? 0 : 2));
  }
  Problem part(int64_t first, int64_t rows, int64_t* from) const;
};

// The problem of rows [first, first + rows) of one image, over the rows of input from `from` on.
Problem First::part(int64_t first, int64_t rows, int64_t* from) const {
  Problem q = problem;
  Axis& h = q.axis[1];
  const int64_t start = first * h.stride - h.lo, end = start + (rows - 1) * h.stride + h.window();
  *from = std::clamp<int64_t>(start, 0, h.in - 1);
  q.batch = 1;
  h.in = std::max(std::min(end, h.in) - *from, int64_t{1});
  h.lo = *from - start;
  h.out = rows;
  return q;
}

First make_first(const conv::Kernels& kernels, const ConvDesc& desc, const MlpWeights& w) {
  First f;
  const Work work = make_work(desc);
  f.problem = work.problem;
  int64_t from;
  const Problem image = f.part(0, f.problem.axis[1].out, &from);
  double least = 0;
  for (int i = 0; i < kAlgorithmCount; ++i) {
    const Algorithm& a = *kAlgorithms[i];
    if (a.own_bits || a.needs_split || !a.decline(image, {true}).empty()) continue;
    const double cost = a.cost(image, {true}, {kernels, 1});
    if (!f.algorithm || cost < least) f.algorithm = &a, least = cost;
  }
  const size_t panels = packed_floats_aligned(kernels, f.problem);
  const size_t extra = f.algorithm->extra_floats ? f.algorithm->extra_floats(f.problem, kernels) : 0;
  f.weights = AlignedBuffer((panels + extra) * sizeof(float));
  auto* to = static_cast<float*>(f.weights.data());
  pack_for(f.algorithm, false, f.problem, kernels, static_cast<const float*>(w.conv.data),
           weight_view(desc, work, work.phases[0], w.conv), to);
  f.bias = copy_of(w.conv_bias);
  f.scale = copy_of(w.conv_scale);
  return f;
}

void check_conv(const MlpDesc& d) {
  const ConvDesc& c = *d.conv;
  if (c.op != ConvOp::forward || c.spatial != 2 || c.padding_mode != PaddingMode::zeros ||
      c.activation != Activation::none || c.precision != Precision::highest || c.device != Device{})
    throw Error(Code::not_supported,
                "conv is not a forward convolution of two spatial axes, padded with zeros, without activation, of "
                "precision 'highest', on the CPU");
  if (c.x_shape != d.x_shape || c.dtype != d.dtype) fail("conv describes another x");
  const Problem p = make_problem(c);
  for (int i : {1, 2})
    if (p.axis[i].lo >= p.axis[i].window() || c.pad_hi[size_t(i - 1)] >= p.axis[i].window())
      throw Error(Code::not_supported, "conv has padding that reaches past its kernel");
}

std::vector<int64_t> shape_before_products(const MlpDesc& d) { return d.conv ? conv_output_shape(*d.conv) : d.x_shape; }

void check_desc(const MlpDesc& d, const MlpWeights& w) {
  if (d.x_shape.size() < 2 || d.x_shape.size() > size_t(kMaxDims))
    fail("x has " + std::to_string(d.x_shape.size()) + " axes; allowed are 2 to " + std::to_string(kMaxDims));
  if (d.dtype != DType::float32 && d.dtype != DType::float64)
    throw Error(Code::type_error, std::string("x has dtype ") + name(d.dtype) + "; allowed are floats");
  int64_t elements = 1;
  for (int64_t n : d.x_shape)
    if (n < 0 || __builtin_mul_overflow(elements, std::max<int64_t>(n, 1), &elements))
      fail("x has shape " + shape_string(d.x_shape.data(), int(d.x_shape.size())));
  if (d.x_shape[1] < 1 || d.hidden < 1 || d.channels < 1)
    fail("channels of x, hidden and channels are " + std::to_string(d.x_shape[1]) + ", " + std::to_string(d.hidden) +
         " and " + std::to_string(d.channels) + "; they must be at least 1");
  if (d.conv) check_conv(d);
  const int64_t mid = shape_before_products(d)[1], w1[] = {d.hidden, mid}, w2[] = {d.channels, d.hidden};
  check_shape("w1", w.w1, d.dtype, w1);
  check_shape("w2", w.w2, d.dtype, w2);
  if (d.conv) check_shape("conv", w.conv, d.dtype, d.conv->w_shape);
  const auto check_vector = [&](const char* name, const TensorView& v, int64_t size) {
    if (v.defined()) check_shape(name, v, d.dtype, {&size, 1});
  };
  check_vector("conv_bias", w.conv_bias, mid), check_vector("conv_scale", w.conv_scale, mid);
  check_vector("norm_weight", w.norm_weight, mid), check_vector("norm_bias", w.norm_bias, mid);
  check_vector("bias1", w.bias1, d.hidden), check_vector("scale1", w.scale1, d.hidden);
  check_vector("bias2", w.bias2, d.channels), check_vector("scale2", w.scale2, d.channels);
}

}  // namespace

struct MlpPlan::Impl {
  // Of one run.
  struct Call {
    const float* x;
    Strides xs;      // under a convolution
    int64_t x_step;  // without one
    const float* residual;
    int64_t r_step;
    float* y;
    int64_t y_step;
  };
  // Of one worker.
  struct Memory {
    float *input, *hidden, *sums, *out;
    const float **rows, **hidden_rows;
    char* first;
    size_t bytes;
  };

  MlpDesc desc;
  std::vector<int64_t> mid, y_shape;
  const conv::Kernels& kernels = conv::kernels();
  const nn::Kernels& norms = nn::kernels();
  std::optional<First> first;
  std::vector<float> norm_weight, norm_bias;
  Product one, two;
  // float64
  std::vector<std::vector<char>> copies;
  MlpWeights weights;

  Impl(const MlpDesc& d, const MlpWeights& w) : desc(d) {
    check_desc(desc, w);
    y_shape = mid = shape_before_products(desc);
    y_shape[1] = desc.channels;
    if (desc.dtype == DType::float64) {
      keep(w);
      return;
    }
    if (desc.conv) first = make_first(kernels, *desc.conv, w);
    norm_weight = copy_of(w.norm_weight);
    norm_bias = copy_of(w.norm_bias);
    one = make_product(kernels, w.w1, w.bias1, w.scale1);
    two = make_product(kernels, w.w2, w.bias2, w.scale2);
  }

  void keep(const MlpWeights& w) {
    weights = w;
    for (TensorView* v :
         {&weights.conv, &weights.conv_bias, &weights.conv_scale, &weights.norm_weight, &weights.norm_bias, &weights.w1,
          &weights.bias1, &weights.scale1, &weights.w2, &weights.bias2, &weights.scale2}) {
      if (!v->defined()) continue;
      copies.push_back(dense_copy(*v));
      *v = dense_view(copies.back().data(), desc.dtype, {v->shape.begin(), v->shape.begin() + v->ndim});
    }
  }

  int64_t pixels() const {
    int64_t n = mid[0];
    for (size_t i = 2; i < mid.size(); ++i) n *= mid[i];
    return n;
  }
  int64_t hidden_step() const { return spread(std::min(desc.hidden, kSumBlock)); }
  bool copies_input() const { return first || desc.norm; }

  int64_t tile_pixels(int threads) const;
  Memory memory(int64_t tile, char* at) const;
  size_t worker_bytes(int64_t tile) const;
  void input(const Call& c, const Memory& m, int64_t pixel, int64_t count) const;
  void products(const Call& c, const Memory& m, int64_t pixel, int64_t count) const;
  void run(const Call& c, int64_t tile, int threads, char* workspace) const;
};

// As many pixels as the budget holds, dealt out evenly; under a convolution whole rows, where many are left.
int64_t MlpPlan::Impl::tile_pixels(int threads) const {
  const int64_t most = std::max<int64_t>(1, pixels());
  const int64_t floats = (copies_input() ? spread(mid[1]) : 0) + hidden_step() + desc.channels;
  const int64_t fit = std::clamp(int64_t(kBudget / sizeof(float)) / floats, int64_t{kMaxTileRows}, kMostPixels);
  const int64_t columns = first ? first->columns() : 1;
  if (fit >= columns && most >= 4 * threads * fit) return fit - fit % columns;
  const int64_t tiles = ceil_div(ceil_div(most, fit), threads) * threads;
  return std::clamp(ceil_div(most, tiles), std::min<int64_t>(kMaxTileRows, most), most);
}

MlpPlan::Impl::Memory MlpPlan::Impl::memory(int64_t tile, char* at) const {
  char* const base = at;
  Memory m{};
  const int64_t lines = first ? first->rows(tile) * first->columns() : desc.norm ? tile : 0;
  take(at, m.input, size_t(lines * spread(mid[1])));
  take(at, m.hidden, size_t(tile * hidden_step()));
  take(at, m.sums, size_t(tile) * kernels.lanes * kernels.tile_vectors);
  take(at, m.out, size_t(Panels(desc.channels, kernels).size(tile)));
  take(at, m.rows, size_t(tile));
  take(at, m.hidden_rows, size_t(tile));
  m.first = at;
  m.bytes = size_t(at - base);
  return m;
}

size_t MlpPlan::Impl::worker_bytes(int64_t tile) const {
  size_t most = 0;  // of parts of an image: fewer rows may take more, where they are cut otherwise
  if (first)
    for (int64_t rows = std::min(first->rows(tile), first->problem.axis[1].out); rows > 0; --rows) {
      int64_t from;
      most = std::max(most, first->algorithm->workspace(first->part(0, rows, &from), {kernels, 1}));
    }
  return memory(tile, nullptr).bytes + align64(most);
}

// m.rows: where the first product finds each pixel.
void MlpPlan::Impl::input(const Call& c, const Memory& m, int64_t pixel, int64_t count) const {
  const int64_t width = mid[1];
  int64_t step = spread(width);
  float* at = m.input;
  if (first) {
    const int64_t height = first->problem.axis[1].out, columns = first->columns();
    const int64_t row = pixel / columns, end = ceil_div(pixel + count, columns);
    Operands o;
    o.xs = c.xs;
    o.ys = {0, 1, {0, columns * step, step}};
    o.bias = first->bias.empty() ? nullptr : first->bias.data();
    o.scale = first->scale.empty() ? nullptr : first->scale.data();
    for (int64_t r = row; r < end;) {
      const int64_t rows = std::min(end - r, height - r % height);
      int64_t from;
      const Problem part = first->part(r % height, rows, &from);
      o.x = c.x + r / height * c.xs.n + from * c.xs.axis[1];
      o.y = at + (r - row) * columns * step;
      first->algorithm->run({part, o, static_cast<const float*>(first->weights.data()), m.first, {kernels, 1}});
      r += rows;
    }
    at += (pixel - row * columns) * step;
  }
  const auto data = [](const std::vector<float>& v) { return v.empty() ? nullptr : v.data(); };
  const float* from = first ? at : c.x + pixel * c.x_step;
  const int64_t from_step = first ? step : c.x_step;
  if (desc.norm)
    norms.norm({from, from_step, count, width, data(norm_weight), data(norm_bias), desc.eps, true, at, step});
  else
    step = from_step;
  const float* base = copies_input() ? at : from;
  for (int64_t i = 0; i < count; ++i) m.rows[i] = base + i * step;
}

void MlpPlan::Impl::products(const Call& c, const Memory& m, int64_t pixel, int64_t count) const {
  const Panels wide(desc.hidden, kernels), narrow(desc.channels, kernels);
  const int64_t step = hidden_step();
  FinishArgs f{};
  f.pixels = count;
  f.y_channel = f.r_channel = 1;
  f.y_pixel = step;
  f.activation = desc.activation;
  f.negative_slope = float(desc.negative_slope);
  f.c = m.sums;
  for (int64_t i = 0; i < count; ++i) m.hidden_rows[i] = m.hidden + i * step;
  for (int64_t h = 0; h < desc.hidden; h += kSumBlock) {
    const int64_t terms = std::min(kSumBlock, desc.hidden - h);
    for (int64_t j = h / wide.width; j * wide.width < h + terms; ++j) {
      const int64_t channel = j * wide.width;
      multiply_panel(kernels, {m.rows, 0, 0, mid[1]}, count, mid[1], wide.vectors(j), one.panel(channel * mid[1]),
                     m.sums, {}, false, one.panel((channel + wide.lanes_of(j)) * mid[1]));
      f.panel = wide.lanes_of(j);
      f.channels = wide.used(j);
      f.y = m.hidden + channel - h;
      f.bias = one.bias_at(channel);
      f.scale = one.scale_at(channel);
      kernels.finish(f);
    }
    const auto block = [&](int64_t j) { return two.panel(j * narrow.width * desc.hidden + h * narrow.lanes_of(j)); };
    for (int64_t j = 0; j < narrow.count(); ++j)
      multiply_panel(kernels, {m.hidden_rows, 0, 0, terms}, count, terms, narrow.vectors(j), block(j),
                     m.out + j * narrow.width * count, {}, h > 0, j + 1 < narrow.count() ? block(j + 1) : nullptr);
  }
  f.activation = Activation::none;
  f.y_pixel = c.y_step;
  f.r_pixel = c.r_step;
  for (int64_t j = 0; j < narrow.count(); ++j) {
    const int64_t channel = j * narrow.width;
    f.c = m.out + channel * count;
    f.panel = narrow.lanes_of(j);
    f.channels = narrow.used(j);
    f.y = c.y + pixel * c.y_step + channel;
    f.residual = c.residual ? c.residual + pixel * c.r_step + channel : nullptr;
    f.bias = two.bias_at(channel);
    f.scale = two.scale_at(channel);
    kernels.finish(f);
  }
}

void MlpPlan::Impl::run(const Call& c, int64_t tile, int threads, char* workspace) const {
  const size_t each = worker_bytes(tile);
  const int64_t all = pixels();
  parallel_for(ceil_div(all, tile), threads, [&](int64_t task, int worker) {
    const Memory m = memory(tile, workspace + worker * each);
    const int64_t pixel = task * tile, count = std::min(tile, all - pixel);
    input(c, m, pixel, count);
    products(c, m, pixel, count);
  });
}

MlpPlan::MlpPlan(const MlpDesc& desc, const MlpWeights& weights) : impl_(std::make_unique<Impl>(desc, weights)) {}
MlpPlan::~MlpPlan() = default;
MlpPlan::MlpPlan(MlpPlan&&) noexcept = default;
MlpPlan& MlpPlan::operator=(MlpPlan&&) noexcept = default;

void MlpPlan::run(const TensorView& x, const TensorView& residual, const TensorView& out) const {
  const Impl& s = *impl_;
  check_shape("x", x, s.desc.dtype, s.desc.x_shape);
  check_shape("out", out, s.desc.dtype, s.y_shape);
  if (residual.defined()) check_shape("residual", residual, s.desc.dtype, s.y_shape);
  for (const auto& [name, view] : {std::pair("x", &x), std::pair("residual", &residual), std::pair("out", &out)}) {
    check_device(name, *view, {});
    if (view->defined() && out.size() > 0) check_adjacent(*view, name);
    if (view != &out) check_apart(out, name, *view);
  }
  if (out.size() == 0) return;
  Impl::Call c{};
  c.y_step = pixel_step(out, "out");
  if (residual.defined()) c.r_step = pixel_step(residual, "residual");
  if (!s.first) c.x_step = pixel_step(x, "x");
  if (s.desc.dtype == DType::float64) return reference::mlp(s.desc, s.weights, x, residual, out);
  if (s.first) c.xs = strides_of(x);
  c.x = static_cast<const float*>(x.data);
  c.residual = static_cast<const float*>(residual.data);
  c.y = static_cast<float*>(out.data);
  const int threads = num_threads();
  const int64_t tile = s.tile_pixels(threads);
  const ScopedWorkspace scratch(size_t(threads) * s.worker_bytes(tile));
  s.run(c, tile, threads, static_cast<char*>(scratch.data()));
}

const MlpDesc& MlpPlan::desc() const { return impl_->desc; }
std::vector<int64_t> MlpPlan::output_shape() const { return impl_->y_shape; }

size_t MlpPlan::workspace_bytes() const {
  if (impl_->desc.dtype == DType::float64) return 0;
  const int threads = num_threads();
  return size_t(threads) * impl_->worker_bytes(impl_->tile_pixels(threads));
}

size_t MlpPlan::packed_bytes() const {
  size_t bytes = impl_->one.weights.size() + impl_->two.weights.size();
  if (impl_->first) bytes += impl_->first->weights.size();
  for (const auto& copy : impl_->copies) bytes += copy.size();
  return bytes;
}

double MlpPlan::flops() const {
  const Impl& s = *impl_;
  const double products = 2.0 * double(s.pixels()) * double(s.desc.hidden) * double(s.mid[1] + s.desc.channels);
  return products + (s.desc.conv ? make_problem(*s.desc.conv).flops() : 0);
}

}  // namespace omniconv
