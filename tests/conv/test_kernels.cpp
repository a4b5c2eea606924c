// tests/conv/test_kernels.cpp -- the functions of every instruction set's table, each against its formula
#include "conv/conv_testing.hpp"
#include "conv/kernels.hpp"
#include "reference/conv.hpp"

namespace omniconv {
namespace {

using namespace omniconv::testing;
using conv::Kernels;

// Floats at a 64-byte boundary in memory of their own size, so that a sanitizer sees every step beyond them.
class Floats {
 public:
  explicit Floats(int64_t count, unsigned seed = 0) : count_(count) {
    data_ = static_cast<float*>(std::aligned_alloc(64, size_t(count * 4 + 63) / 64 * 64));
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < count; ++i) data_[i] = seed ? normal(random) : kUntouched;
  }
  ~Floats() { std::free(data_); }
  Floats(const Floats&) = delete;
  float* data() const { return data_; }
  float& operator[](int64_t i) const { return data_[i]; }
  int64_t untouched() const { return std::count(data_, data_ + count_, kUntouched); }

  static constexpr float kUntouched = -7e33f;

 private:
  float* data_;
  int64_t count_;
};

class KernelTables : public ::testing::Test {
 protected:
  template <class Body>
  void on_every_level(Body&& body) {
    for (Isa isa : levels()) {
      set_isa(isa);
      SCOPED_TRACE(omniconv::name(isa));
      body(conv::kernels());
    }
  }
  Settings settings;
};

TEST_F(KernelTables, AreComplete) {
  on_every_level([](const Kernels& k) {
    EXPECT_GE(k.lanes, 4);
    ASSERT_LE(k.tile_vectors, conv::kMaxTileVectors);
    EXPECT_GT(k.peak, 0);
    for (int v = 1; v <= k.tile_vectors; ++v) {
      ASSERT_GE(k.tile_rows[v], 1);
      ASSERT_LE(k.tile_rows[v], v > 1 ? k.tile_rows[v - 1] : conv::kMaxTileRows);
      for (int r = 1; r <= k.tile_rows[v]; ++r) {
        EXPECT_NE(k.tile[v][r], nullptr) << v << " x " << r;
        EXPECT_NE(k.outer[v][r], nullptr) << v << " x " << r;
      }
    }
  });
}

TEST_F(KernelTables, TilesAreProducts) {
  // The windows of a tile as segments that lie anywhere: [segment] -> rows[segment * row_step + i] + segment * step.
  struct Segments {
    int64_t length, count, row_step, element_step, first, offset;
  };
  const Segments all[] = {{37, 1, 0, 0, 0, 0}, {1, 9, 20, 0, 0, 0},  {5, 4, 0, 11, 0, 0},
                          {5, 4, 15, 0, 1, 3}, {16, 3, 16, 2, 0, 7}, {600, 1, 0, 0, 0, 512}};
  on_every_level([&](const Kernels& k) {
    for (int vectors = 1; vectors <= k.tile_vectors; ++vectors)
      for (int rows = 1; rows <= k.tile_rows[vectors]; ++rows)
        for (const Segments& s : all)
          for (bool add : {false, true}) {
            const int64_t lanes = int64_t{vectors} * k.lanes, skipped = s.first * s.length + s.offset;
            const int64_t terms = s.length * s.count - skipped;
            const Floats a(4000, 1), b(terms * lanes, 2), c(rows * lanes, 3);
            std::vector<const float*> starts(size_t((s.count - 1) * s.row_step + rows));
            for (size_t i = 0; i < starts.size(); ++i) starts[i] = a.data() + (i * 613 + 29) % 3000;
            std::vector<double> expected(size_t(rows * lanes));
            for (int i = 0; i < rows; ++i)
              for (int64_t j = 0; j < lanes; ++j) {
                double sum = add ? c[i * lanes + j] : 0;
                for (int64_t t = 0; t < terms; ++t) {
                  const int64_t segment = (skipped + t) / s.length, element = (skipped + t) % s.length;
                  sum +=
                      double(starts[segment * s.row_step + i][segment * s.element_step + element]) * b[t * lanes + j];
                }
                expected[i * lanes + j] = sum;
              }
            k.tile[vectors][rows]({starts.data(), s.row_step, s.element_step, s.length, s.first, s.offset, terms,
                                   b.data(), c.data(), add});
            ASSERT_LE(relative_error({c.data(), c.data() + rows * lanes}, expected), 1e-6)
                << vectors << " x " << rows << ", segments of " << s.length << ", add " << add;
          }
  });
}

TEST_F(KernelTables, OuterIsTheTransposedProduct) {
  on_every_level([](const Kernels& k) {
    for (int vectors = 1; vectors <= k.tile_vectors; ++vectors)
      for (int rows = 1; rows <= k.tile_rows[vectors]; ++rows)
        for (int64_t pixels : {1, 2, 31})
          for (bool add : {false, true}) {
            const int64_t lanes = int64_t{vectors} * k.lanes, offset = 5;
            const Floats a(2000, 1), b(pixels * lanes, 2), c(rows * lanes, 3);
            std::vector<const float*> starts(static_cast<size_t>(pixels));
            for (int64_t p = 0; p < pixels; ++p) starts[p] = a.data() + p * 613 % 1900;
            std::vector<double> expected(size_t(rows * lanes));
            for (int i = 0; i < rows; ++i)
              for (int64_t j = 0; j < lanes; ++j) {
                double sum = add ? c[i * lanes + j] : 0;
                for (int64_t p = 0; p < pixels; ++p) sum += double(starts[p][offset + i]) * b[p * lanes + j];
                expected[i * lanes + j] = sum;
              }
            k.outer[vectors][rows]({starts.data(), offset, pixels, b.data(), c.data(), add});
            ASSERT_LE(relative_error({c.data(), c.data() + rows * lanes}, expected), 1e-6)
                << vectors << " x " << rows << ", " << pixels << " pixels, add " << add;
          }
  });
}

TEST_F(KernelTables, PackMovesEveryElementToItsPlaces) {
  on_every_level([](const Kernels& k) {
    for (int64_t rows : {1, 3, 4, 15, 16, 17, 40})
      for (int64_t columns : {1, 2, 7, 16, 33})
        for (int kind = 0; kind < 4; ++kind)
          for (int64_t copies : {1, 3})
            for (bool placed : {false, true}) {
              // Rows contiguous, columns contiguous, neither, and backwards.
              const int64_t row_stride = kind == 0 ? 1 : kind == 1 ? columns + 2 : kind == 2 ? 2 : -1;
              const int64_t column_stride = kind == 1 ? 1 : kind == 2 ? 2 * rows + 1 : rows;
              const int64_t first = kind == 3 ? rows - 1 : 0;
              const int64_t reach =
                  first + (kind == 3 ? 0 : (rows - 1) * row_stride) + (columns - 1) * column_stride + 1;
              const Floats src(reach, 1);
              const int64_t step = rows + 3;  // between columns of the destination
              std::vector<int64_t> place(static_cast<size_t>(columns));
              for (int64_t j = 0; j < columns; ++j) place[j] = (columns - 1 - j) * step;
              const Floats dst(copies * columns * step);
              float* starts[3];
              for (int64_t t = 0; t < copies; ++t) starts[t] = dst.data() + t * columns * step;
              k.pack({src.data() + first, row_stride, column_stride, rows, columns, starts, copies, placed ? 0 : step,
                      placed ? place.data() : nullptr});
              int64_t wrong = 0;
              for (int64_t t = 0; t < copies; ++t)
                for (int64_t j = 0; j < columns; ++j)
                  for (int64_t i = 0; i < rows; ++i)
                    wrong += starts[t][(placed ? place[j] : j * step) + i] !=
                             src[first + i * row_stride + j * column_stride];
              ASSERT_EQ(wrong, 0) << rows << " x " << columns << ", kind " << kind;
              ASSERT_EQ(dst.untouched(), copies * columns * 3) << rows << " x " << columns << ", kind " << kind;
            }
  });
}

struct Layout {
  int64_t pixel, channel;
  int64_t reach(int64_t pixels, int64_t channels) const { return (pixels - 1) * pixel + (channels - 1) * channel + 1; }
};

void check_finish(const Kernels& k, int64_t pixels, int64_t channels, Layout y, Layout r, int extras,
                  Activation activation) {
  const int64_t panel = (channels + k.lanes - 1) / k.lanes * k.lanes;
  const Floats c(pixels * panel, 1), bias(channels, 2), scale(channels, 3);
  const Floats residual(r.reach(pixels, channels), 4), out(y.reach(pixels, channels));
  conv::FinishArgs args{};
  args.c = c.data();
  args.panel = panel;
  args.pixels = pixels;
  args.channels = channels;
  args.y = out.data();
  args.y_pixel = y.pixel;
  args.y_channel = y.channel;
  args.residual = extras & 4 ? residual.data() : nullptr;
  args.r_pixel = r.pixel;
  args.r_channel = r.channel;
  args.bias = extras & 1 ? bias.data() : nullptr;
  args.scale = extras & 2 ? scale.data() : nullptr;
  args.activation = activation;
  args.negative_slope = 0.2f;
  k.finish(args);
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t j = 0; j < channels; ++j) {
      double v = c[p * panel + j];
      if (args.scale) v *= scale[j];
      if (args.bias) v += bias[j];
      if (args.residual) v += residual[p * r.pixel + j * r.channel];
      const double expected = reference::activate(activation, v, 0.2f);
      ASSERT_NEAR(out[p * y.pixel + j * y.channel], expected, 2e-6 * (1 + std::abs(expected)))
          << "pixel " << p << ", channel " << j;
    }
  EXPECT_EQ(out.untouched(), y.reach(pixels, channels) - pixels * channels);
}

TEST_F(KernelTables, FinishStoresEveryLayout) {
  on_every_level([](const Kernels& k) {
    for (int64_t pixels : {1, 5, 16, 37})
      for (int64_t channels : {1, 3, 16, 29}) {
        // NCHW, NHWC, both with gaps, and no stride of 1.
        const Layout layouts[] = {{1, pixels}, {channels, 1}, {1, pixels + 5}, {channels + 7, 1}, {2, 2 * pixels + 1}};
        int extras = 0;
        for (const Layout& y : layouts)
          for (const Layout& r : layouts) {
            SCOPED_TRACE(::testing::Message() << pixels << " pixels, " << channels << " channels, strides " << y.pixel
                                              << " " << y.channel << " and " << r.pixel << " " << r.channel);
            check_finish(k, pixels, channels, y, r, extras++ % 8, Activation::none);
            check_finish(k, pixels, channels, y, r, 7, Activation::silu);
          }
      }
  });
}

TEST_F(KernelTables, FinishAppliesEveryActivation) {
  on_every_level([](const Kernels& k) {
    for (int a = 0; a <= int(Activation::tanh); ++a)
      for (const Layout& y : {Layout{1, 40}, Layout{20, 1}, Layout{3, 200}}) {
        SCOPED_TRACE(a);
        check_finish(k, 37, 20, y, y, 7, Activation(a));
      }
  });
}

}  // namespace
}  // namespace omniconv
