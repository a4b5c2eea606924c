// tests/core/test_tensor.cpp -- views, and the DLPack tensors they are made of.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <vector>

#include "omniconv/tensor.hpp"

namespace omniconv {
namespace {

TEST(TensorView, IsDenseUnlessToldOtherwise) {
  std::vector<double> memory(24);
  const TensorView v(memory.data(), {2, 3, 4});
  EXPECT_EQ(v.data, memory.data());
  EXPECT_EQ(v.dtype, DType::float64);
  EXPECT_EQ(v.item_size(), 8);
  EXPECT_EQ(v.size(), 24);
  EXPECT_EQ(std::vector<int64_t>(v.strides.begin(), v.strides.begin() + 3), (std::vector<int64_t>{12, 4, 1}));
  const int axes[] = {0, 2, 1};
  const TensorView p = v.permuted(axes);
  EXPECT_EQ(std::vector<int64_t>(p.shape.begin(), p.shape.begin() + 3), (std::vector<int64_t>{2, 4, 3}));
  EXPECT_EQ(std::vector<int64_t>(p.strides.begin(), p.strides.begin() + 3), (std::vector<int64_t>{12, 1, 4}));
  EXPECT_FALSE(TensorView().defined());
  EXPECT_TRUE(v.defined());
  EXPECT_THROW(TensorView(memory.data(), {1, 1, 1, 1, 1, 1, 1, 1, 1}), Error);
}

TEST(ShapeString, IsPythons) {
  const int64_t shape[] = {2, 3, 224};
  EXPECT_EQ(shape_string(shape, 3), "(2, 3, 224)");
  EXPECT_EQ(shape_string(shape, 1), "(2,)");
  EXPECT_EQ(shape_string(shape, 0), "()");
}

struct Tensor {
  std::vector<float> memory = std::vector<float>(64);
  std::vector<int64_t> shape{2, 3, 4}, strides{12, 4, 1};
  DLTensor t{};

  Tensor() {
    t.data = memory.data();
    t.device = {kDLCPU, 0};
    t.ndim = 3;
    t.dtype = {kDLFloat, 32, 1};
    t.shape = shape.data();
    t.strides = strides.data();
  }
};

TEST(FromDlpack, TakesEverythingOver) {
  Tensor dl;
  dl.strides = {24, 8, -2};
  dl.t.byte_offset = 12;
  const TensorView v = TensorView::from_dlpack(dl.t, "x");
  EXPECT_EQ(v.data, dl.memory.data() + 3);
  EXPECT_EQ(v.dtype, DType::float32);
  EXPECT_EQ(v.ndim, 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(v.shape[i], dl.shape[i]);
    EXPECT_EQ(v.strides[i], dl.strides[i]);
  }
  dl.t.strides = nullptr;
  EXPECT_EQ(TensorView::from_dlpack(dl.t, "x").strides[0], 12);
  EXPECT_EQ(TensorView::from_dlpack(dl.t, "x").strides[2], 1);
}

TEST(FromDlpack, AcceptsEmptyAndBroadcastTensors) {
  Tensor dl;
  dl.shape = {0, 3, 4};
  dl.t.data = nullptr;
  EXPECT_EQ(TensorView::from_dlpack(dl.t, "x").size(), 0);
  dl.shape = {1 << 20, 1 << 20, 4};
  dl.strides = {0, 0, 1};
  EXPECT_EQ(TensorView::from_dlpack(dl.t, "x").size(), int64_t{1} << 42);
}

TEST(FromDlpack, RefusesWhatNoKernelCanRead) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kLeast = std::numeric_limits<int64_t>::min();
  struct Bad {
    std::function<void(Tensor&)> change;
    Code code;
    const char* part;
  };
  const Bad all[] = {
      {[](Tensor& x) { x.t.device.device_type = kDLCUDA; }, Code::not_supported, "device type 2"},
      {[](Tensor& x) { x.t.dtype.bits = 16; }, Code::type_error, "16 bits"},
      {[](Tensor& x) { x.t.dtype.code = kDLInt; }, Code::type_error, "type code 0"},
      {[](Tensor& x) { x.t.dtype.lanes = 2; }, Code::type_error, "float32"},
      {[](Tensor& x) { x.t.ndim = 0; }, Code::invalid_argument, "0 dimensions"},
      {[](Tensor& x) { x.t.ndim = 9; }, Code::invalid_argument, "9 dimensions"},
      {[](Tensor& x) { x.t.ndim = -1; }, Code::invalid_argument, "-1 dimensions"},
      {[](Tensor& x) { x.t.shape = nullptr; }, Code::invalid_argument, "no shape"},
      {[](Tensor& x) { x.t.byte_offset = 2; }, Code::invalid_argument, "not aligned"},
      {[](Tensor& x) { x.shape[1] = -3; }, Code::invalid_argument, "(2, -3, 4)"},
      {[](Tensor& x) { x.shape[1] = kLeast; }, Code::invalid_argument, "negative"},
      {[](Tensor& x) { x.shape[1] = kMost; }, Code::invalid_argument, "too large"},
      {[](Tensor& x) { x.shape = {1 << 30, 1 << 30, 1 << 30}; }, Code::invalid_argument, "too large"},
      {[](Tensor& x) { x.t.strides = nullptr, x.shape = {1 << 30, 1 << 30, 1 << 30}; }, Code::invalid_argument,
       "too large"},
      {[](Tensor& x) { x.strides[0] = kMost; }, Code::invalid_argument, "too large"},
      {[](Tensor& x) { x.strides[2] = kLeast; }, Code::invalid_argument, "too large"},
      {[](Tensor& x) { x.strides = {kMost / 16, kMost / 32, 1}; }, Code::invalid_argument, "too large"},
  };
  for (const Bad& bad : all) {
    Tensor dl;
    bad.change(dl);
    try {
      TensorView::from_dlpack(dl.t, "residual");
      ADD_FAILURE() << "no error about " << bad.part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), bad.code) << error.what();
      EXPECT_NE(std::string(error.what()).find(bad.part), std::string::npos)
          << bad.part << " is not in: " << error.what();
      EXPECT_EQ(std::string(error.what()).find("residual"), 0u) << error.what();
    }
  }
}

TEST(FromDlpack, DevicesAreNamedAndAskedFor) {
  Tensor dl;
  dl.t.device = {kDLCUDA, 3};
  EXPECT_THROW(TensorView::from_dlpack(dl.t, "x"), Error);
  const TensorView v = TensorView::from_dlpack(dl.t, "x", TensorView::On::cpu_or_cuda);
  EXPECT_EQ(name(v.device), "cuda:3");
  dl.t.device = {kDLCUDAManaged, 2};
  EXPECT_EQ(TensorView::from_dlpack(dl.t, "x", TensorView::On::cpu_or_cuda).device, (Device{kDLCUDA, 2}));
  dl.t.device = {kDLCUDAHost, 1};  // pinned: any CPU kernel can read it
  EXPECT_EQ(TensorView::from_dlpack(dl.t, "x").device, Device{});
  dl.t.device = {kDLMetal, 0};
  EXPECT_THROW(TensorView::from_dlpack(dl.t, "x", TensorView::On::cpu_or_cuda), Error);
}

}  // namespace
}  // namespace omniconv
