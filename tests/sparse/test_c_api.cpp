// sparse/test_c_api.cpp -- sparse convolution from C, numbers by hand; and masks from C++
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "omniconv/masked.hpp"
#include "omniconv/omniconv.h"

namespace {

template <class T>
struct Array {
  std::vector<T> values;
  std::vector<int64_t> shape;
  DLTensor tensor{};
  Array(std::vector<int64_t> sizes, std::vector<T> v) : values(std::move(v)), shape(std::move(sizes)) {
    tensor.data = values.data();
    tensor.device.device_type = kDLCPU;
    tensor.ndim = int(shape.size());
    tensor.dtype = {uint8_t(std::is_unsigned_v<T>   ? kDLUInt
                            : std::is_integral_v<T> ? kDLInt
                                                    : kDLFloat),
                    uint8_t(8 * sizeof(T)), 1};
    tensor.shape = shape.data();
  }
};

constexpr omniconv_sparse_window kThree = {{3, 1, 1, 1}, {1, 1, 1, 1}, {1, 0, 0, 0}, {1, 1, 1, 1}};

TEST(SparseC, MultipliesByAGraph) {
  const std::vector<int64_t> begin{0, 2, 2, 3};
  const std::vector<int32_t> indices{0, 1, 1};
  const std::vector<float> values{2, 3, -1}, twice{2, 2, 2};
  Array<float> x({2, 2}, {1, 2, 10, 20}), y({3, 2}, {9, 9, 9, 9, 9, 9}), bias({2}, {1, 2});
  omniconv_csr m{begin.data(), indices.data(), values.data(), nullptr, nullptr, 3, 2, 3};
  ASSERT_EQ(omniconv_spmm(&m, &x.tensor, nullptr, nullptr, 0, &y.tensor), OMNICONV_OK) << omniconv_last_error();
  EXPECT_EQ(y.values, (std::vector<float>{32, 64, 0, 0, -10, -20}));
  m.row_scale = twice.data();
  ASSERT_EQ(omniconv_spmm(&m, &x.tensor, &bias.tensor, "relu", 0, &y.tensor), OMNICONV_OK);
  EXPECT_EQ(y.values, (std::vector<float>{65, 130, 1, 2, 0, 0}));
  EXPECT_NE(omniconv_spmm(&m, &bias.tensor, nullptr, nullptr, 0, &y.tensor), OMNICONV_OK);
  EXPECT_NE(omniconv_spmm(nullptr, &x.tensor, nullptr, nullptr, 0, &y.tensor), OMNICONV_OK);
}

TEST(SparseC, ConvolvesBetweenMasks) {
  Array<float> x({1, 1, 1, 4}, {1, 2, 4, 8}), w({1, 1, 1, 3}, {1, 10, 100}), y({1, 1, 1, 4}, {9, 9, 9, 9});
  Array<uint8_t> mask({1, 1, 2}, {0, 1});
  omniconv_conv_options options;
  ASSERT_EQ(omniconv_conv_options_init(&options, sizeof options), OMNICONV_OK);
  options.pad_lo[1] = options.pad_hi[1] = 1;
  const auto run = [&](omniconv_conv_op op, Array<float>& a, Array<float>& b, Array<float>& out) {
    return omniconv_masked_conv(op, &a.tensor, &b.tensor, &mask.tensor, nullptr, nullptr, nullptr, &out.tensor,
                                &options);
  };
  ASSERT_EQ(run(OMNICONV_CONV_FORWARD, x, w, y), OMNICONV_OK) << omniconv_last_error();
  EXPECT_EQ(y.values, (std::vector<float>{0, 0, 840, 84}));
  Array<float> dx({1, 1, 1, 4}, {9, 9, 9, 9}), dw({1, 1, 1, 3}, {9, 9, 9}), ones({1, 1, 1, 4}, {1, 1, 1, 1});
  ASSERT_EQ(run(OMNICONV_CONV_GRAD_INPUT, ones, w, dx), OMNICONV_OK) << omniconv_last_error();
  EXPECT_EQ(dx.values, (std::vector<float>{0, 0, 11, 110}));
  ASSERT_EQ(run(OMNICONV_CONV_GRAD_WEIGHT, ones, x, dw), OMNICONV_OK) << omniconv_last_error();
  EXPECT_EQ(dw.values, (std::vector<float>{4, 12, 8}));
  mask.tensor.dtype.bits = 16;
  EXPECT_NE(run(OMNICONV_CONV_FORWARD, x, w, y), OMNICONV_OK);
  EXPECT_NE(std::string(omniconv_last_error()).find("mask"), std::string::npos);
}

TEST(SparseC, ConvolvesPoolsAndGoesBack) {
  Array<int32_t> coords({3, 2}, {0, 7, 0, 5, 0, 6});
  Array<float> x({3, 1}, {3, 1, 2}), w({1, 1, 3}, {1, 10, 100}), y({3, 1}, {9, 9, 9}), bias({1}, {-200});
  omniconv_sparse_map* map = nullptr;
  ASSERT_EQ(omniconv_sparse_map_create(&coords.tensor, "subm", &kThree, &map), OMNICONV_OK) << omniconv_last_error();
  int64_t rows = 0, taps = 0, pairs = 0;
  EXPECT_EQ(omniconv_sparse_map_sizes(map, &rows, &taps, &pairs), OMNICONV_OK);
  EXPECT_EQ(rows, 3);
  EXPECT_EQ(taps, 3);
  EXPECT_EQ(pairs, 7);
  ASSERT_EQ(omniconv_sparse_conv(map, &x.tensor, &w.tensor, 1, nullptr, nullptr, nullptr, nullptr, 0, &y.tensor),
            OMNICONV_OK)
      << omniconv_last_error();
  EXPECT_EQ(y.values, (std::vector<float>{32, 210, 321}));
  ASSERT_EQ(omniconv_sparse_conv(map, &x.tensor, &w.tensor, 1, &bias.tensor, nullptr, nullptr, "relu", 0, &y.tensor),
            OMNICONV_OK);
  EXPECT_EQ(y.values, (std::vector<float>{0, 10, 121}));
  Array<float> dw({1, 1, 3}, {0, 0, 0}), ones({3, 1}, {1, 1, 1});
  ASSERT_EQ(omniconv_sparse_conv_grad_weight(map, &x.tensor, &ones.tensor, 1, &dw.tensor), OMNICONV_OK);
  EXPECT_EQ(dw.values, (std::vector<float>{3, 6, 5}));
  omniconv_sparse_map_destroy(map);

  const omniconv_sparse_window two = {{2, 1, 1, 1}, {2, 1, 1, 1}, {0, 0, 0, 0}, {1, 1, 1, 1}};
  omniconv_sparse_map* back = nullptr;
  ASSERT_EQ(omniconv_sparse_map_create(&coords.tensor, "strided", &two, &map), OMNICONV_OK);
  ASSERT_EQ(omniconv_sparse_map_sizes(map, &rows, nullptr, nullptr), OMNICONV_OK);
  std::vector<int32_t> sites(size_t(rows) * 2);
  EXPECT_EQ(omniconv_sparse_map_out_coords(map, sites.data()), OMNICONV_OK);
  EXPECT_EQ(sites, (std::vector<int32_t>{0, 2, 0, 3}));
  Array<float> pooled({2, 1}, {0, 0}), w2({1, 1, 2}, {1, 10});
  EXPECT_EQ(omniconv_sparse_pool(map, "max", &x.tensor, &pooled.tensor), OMNICONV_OK);
  EXPECT_EQ(pooled.values, (std::vector<float>{1, 3}));
  ASSERT_EQ(omniconv_sparse_map_inverse(map, &back), OMNICONV_OK);
  EXPECT_EQ(omniconv_sparse_conv(back, &pooled.tensor, &w2.tensor, 1, nullptr, nullptr, nullptr, nullptr, 0, &y.tensor),
            OMNICONV_OK);
  EXPECT_EQ(y.values, (std::vector<float>{30, 10, 3}));
  omniconv_sparse_map_destroy(map), omniconv_sparse_map_destroy(back), omniconv_sparse_map_destroy(nullptr);
}

TEST(SparseC, ErrorsNameTheArgument) {
  Array<int32_t> coords({2, 2}, {0, 7, 0, 7});
  Array<float> floats({2, 2}, {0, 1, 0, 2});
  omniconv_sparse_map* map = nullptr;
  const auto fails = [&](omniconv_status status, omniconv_status wanted, const char* word) {
    EXPECT_EQ(status, wanted);
    EXPECT_NE(std::string(omniconv_last_error()).find(word), std::string::npos) << omniconv_last_error();
    EXPECT_EQ(map, nullptr);
  };
  fails(omniconv_sparse_map_create(&coords.tensor, "subm", &kThree, &map), OMNICONV_INVALID_ARGUMENT, "coords");
  fails(omniconv_sparse_map_create(&floats.tensor, "subm", &kThree, &map), OMNICONV_TYPE_ERROR, "coords");
  fails(omniconv_sparse_map_create(nullptr, "subm", &kThree, &map), OMNICONV_INVALID_ARGUMENT, "coords");
  coords.values[3] = 8;
  fails(omniconv_sparse_map_create(&coords.tensor, "dense", &kThree, &map), OMNICONV_INVALID_ARGUMENT, "mode");
  fails(omniconv_sparse_map_create(&coords.tensor, "subm", nullptr, &map), OMNICONV_INVALID_ARGUMENT, "window");
  fails(omniconv_sparse_conv(nullptr, &floats.tensor, &floats.tensor, 1, nullptr, nullptr, nullptr, nullptr, 0,
                             &floats.tensor),
        OMNICONV_INVALID_ARGUMENT, "map");
}

TEST(Masked, FromCxx) {
  // One row of four pixels in two cells: the first is hidden, and not read.
  std::vector<float> x{NAN, NAN, 1, 2}, w{1, 10, 100}, y(4, -1.0f);
  const uint8_t seen[] = {0, 1};
  omniconv::ConvDesc desc{.x_shape = {1, 1, 1, 4}, .w_shape = {1, 1, 1, 3}, .pad_lo = {0, 1}, .pad_hi = {0, 1}};
  omniconv::masked_convolve(desc, {seen, 1, 1, 2},
                            {.a = omniconv::TensorView(x.data(), {1, 1, 1, 4}),
                             .b = omniconv::TensorView(w.data(), {1, 1, 1, 3}),
                             .out = omniconv::TensorView(y.data(), {1, 1, 1, 4})});
  EXPECT_EQ(y, (std::vector<float>{0, 0, 210, 21}));
  EXPECT_THROW(omniconv::masked_convolve(desc, {seen, 1, 1, 3}, {}), omniconv::Error);
}

}  // namespace
