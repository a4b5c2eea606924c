// tests/conv/test_c_api.cpp -- the C interface: the same results as the C++ one, and no way for an error out but a
// status
#include <new>
#include <stdexcept>
#include <thread>

#include "conv/conv_testing.hpp"
#include "core/c_api.hpp"
#include "omniconv/omniconv.h"

namespace omniconv {
namespace {

using namespace omniconv::testing;

// A view as a DLTensor, whose shape and strides are those of the view.
DLTensor tensor(const TensorView& v) {
  DLTensor t{};
  t.data = v.data;
  t.device = {kDLCPU, 0};
  t.ndim = v.ndim;
  t.dtype = {kDLFloat, uint8_t(8 * v.item_size()), 1};
  t.shape = const_cast<int64_t*>(v.shape.data());
  t.strides = const_cast<int64_t*>(v.strides.data());
  return t;
}

template <class Array>
DLTensor tensor_of(const Array& array) {
  return tensor(array.view());
}

omniconv_conv_options defaults() {
  omniconv_conv_options o;
  EXPECT_EQ(omniconv_conv_options_init(&o, sizeof o), OMNICONV_OK);
  return o;
}

constexpr const char* kModes[] = {"zeros", "reflect", "replicate", "circular"};

omniconv_conv_options options_of(const ConvDesc& d) {
  omniconv_conv_options o = defaults();
  std::copy(d.stride.begin(), d.stride.end(), o.stride);
  std::copy(d.dilation.begin(), d.dilation.end(), o.dilation);
  std::copy(d.pad_lo.begin(), d.pad_lo.end(), o.pad_lo);
  std::copy(d.pad_hi.begin(), d.pad_hi.end(), o.pad_hi);
  std::copy(d.output_padding.begin(), d.output_padding.end(), o.output_padding);
  o.groups = d.groups;
  o.padding_mode = kModes[int(d.padding_mode)];
  return o;
}

void expect_message(std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    EXPECT_NE(std::string(omniconv_last_error()).find(part), std::string::npos)
        << "'" << part << "' is not in: " << omniconv_last_error();
}

TEST(CApi, RunsTheSameConvolutions) {
  for (const Case& c : cases())
    for (ConvOp op : kOps) {
      SCOPED_TRACE(std::string(c.name) + ", " + testing::name(op));
      ConvDesc desc = c.desc;
      desc.op = op;
      desc.activation = op == ConvOp::grad_weight ? Activation::none : Activation::leaky_relu;
      desc.negative_slope = 0.25f;
      const Arrays<float> expected = make_arrays<float>(desc, Order::cropped_last, true);
      convolve(desc, expected.operands());

      const Arrays<float> arrays = make_arrays<float>(desc, Order::cropped_last, true);
      const DLTensor a = tensor_of(arrays.a), b = tensor_of(arrays.b), out = tensor_of(arrays.out);
      const DLTensor bias = tensor_of(arrays.bias), scale = tensor_of(arrays.scale),
                     residual = tensor_of(arrays.residual);
      omniconv_conv_options options = options_of(desc);
      options.activation = op == ConvOp::grad_weight ? "none" : "leaky_relu";
      options.negative_slope = 0.25f;
      const auto status = op == ConvOp::forward ? omniconv_conv(&a, &b, &bias, &scale, &residual, &out, &options)
                          : op == ConvOp::grad_input
                              ? omniconv_conv_grad_input(&a, &b, &bias, &scale, &residual, &out, &options)
                              : omniconv_conv_grad_weight(&a, &b, &out, &options);
      ASSERT_EQ(status, OMNICONV_OK) << omniconv_last_error();
      EXPECT_EQ(arrays.out.values(), expected.out.values());

      if (op != ConvOp::forward) continue;
      int64_t shape[5] = {};
      EXPECT_EQ(omniconv_conv_output_shape(&a, &b, &options, shape), OMNICONV_OK);
      EXPECT_EQ(Shape(shape, shape + a.ndim), conv_output_shape(desc));
    }
  const Array<float> grad({2, 3, 4, 5}, Order::scattered, 1), found({3}, Order::scattered),
      expected({3}, Order::scattered);
  const DLTensor g = tensor_of(grad), o = tensor_of(found);
  EXPECT_EQ(omniconv_conv_grad_bias(&g, &o), OMNICONV_OK);
  conv_grad_bias(grad.view(), expected.view());
  EXPECT_EQ(found.values(), expected.values());
}

struct Planned {
  ConvDesc desc{.x_shape = {2, 6, 9, 8}, .w_shape = {9, 2, 3, 3}, .stride = {2, 1}, .pad_lo = {1, 1}, .groups = 3};
  Array<float> x{desc.x_shape, Order::channels_last, 1}, w{desc.w_shape, Order::scattered, 2};
  Array<float> y{conv_output_shape(desc), Order::channels_first}, again{conv_output_shape(desc), Order::channels_first};
  DLTensor dx = tensor_of(x), dw = tensor_of(w), dy = tensor_of(y), dagain = tensor_of(again);
  omniconv_conv_options options = options_of(desc);
};

TEST(CApi, PlansRunPackAndExplain) {
  Planned p;
  ASSERT_EQ(omniconv_conv(&p.dx, &p.dw, nullptr, nullptr, nullptr, &p.dy, &p.options), OMNICONV_OK);
  omniconv_conv_plan* plan = nullptr;
  ASSERT_EQ(omniconv_conv_plan_create(OMNICONV_CONV_FORWARD, &p.dx, &p.dw, &p.options, &plan), OMNICONV_OK);
  EXPECT_STREQ(omniconv_conv_plan_algorithm(plan),
               algorithms(p.desc.take_shapes(p.x.view(), p.w.view())).front().name.c_str());
  const auto run = [&](const DLTensor* b, void* workspace, size_t bytes) {
    p.again.fill(0);
    const omniconv_status status =
        omniconv_conv_plan_run(plan, &p.dx, b, nullptr, nullptr, nullptr, &p.dagain, workspace, bytes);
    EXPECT_TRUE(status != OMNICONV_OK || p.again.values() == p.y.values());
    return status;
  };
  EXPECT_EQ(run(&p.dw, nullptr, 0), OMNICONV_OK);
  EXPECT_EQ(run(nullptr, nullptr, 0), OMNICONV_INVALID_ARGUMENT);
  expect_message({"weight is missing"});
  ASSERT_EQ(omniconv_conv_plan_pack(plan, &p.dw), OMNICONV_OK);
  EXPECT_EQ(run(nullptr, nullptr, 0), OMNICONV_OK);

  size_t bytes = 0;
  ASSERT_EQ(omniconv_conv_plan_workspace_bytes(plan, &bytes), OMNICONV_OK);
  void* workspace = std::aligned_alloc(64, bytes);
  EXPECT_EQ(run(nullptr, workspace, bytes), OMNICONV_OK);
  EXPECT_EQ(run(nullptr, workspace, bytes - 1), OMNICONV_INVALID_ARGUMENT);
  expect_message({"workspace", std::to_string(bytes).c_str()});
  std::free(workspace);

  size_t size = 0;
  ASSERT_EQ(omniconv_conv_plan_explain(plan, nullptr, &size), OMNICONV_OK);
  std::vector<char> text(size, 'x');
  ASSERT_EQ(omniconv_conv_plan_explain(plan, text.data(), &size), OMNICONV_OK);
  EXPECT_EQ(std::string(text.data()).size() + 1, size);
  size = 7;
  std::fill(text.begin(), text.end(), 'x');
  ASSERT_EQ(omniconv_conv_plan_explain(plan, text.data(), &size), OMNICONV_OK);
  EXPECT_STREQ(text.data(), "conv2d");
  EXPECT_EQ(text[7], 'x');
  EXPECT_EQ(size, text.size());
  omniconv_conv_plan_destroy(plan);
  omniconv_conv_plan_destroy(nullptr);
  EXPECT_EQ(omniconv_conv_plan_algorithm(nullptr), nullptr);
}

TEST(CApi, ListsAlgorithms) {
  Planned p;
  std::vector<AlgorithmInfo> found;
  const auto visit = [](const omniconv_algorithm* a, void* user) {
    static_cast<std::vector<AlgorithmInfo>*>(user)->push_back(
        {a->name, a->usable != 0, a->reason, a->workspace_bytes, a->cost});
  };
  for (auto op : {OMNICONV_CONV_FORWARD, OMNICONV_CONV_GRAD_INPUT, OMNICONV_CONV_GRAD_WEIGHT}) {
    found.clear();
    ASSERT_EQ(omniconv_conv_algorithms(op, &p.dx, &p.dw, &p.options, visit, &found), OMNICONV_OK);
    p.desc.op = ConvOp(int(op));
    const std::vector<AlgorithmInfo> expected = algorithms(p.desc.take_shapes(p.x.view(), p.w.view()));
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].name, expected[i].name);
      EXPECT_EQ(found[i].usable, expected[i].usable);
      EXPECT_EQ(found[i].reason, expected[i].reason);
      EXPECT_EQ(found[i].workspace_bytes, expected[i].workspace_bytes);
      EXPECT_EQ(found[i].cost, expected[i].cost);
    }
  }
}

TEST(CApi, ReadsTheWordsOfOptions) {
  Planned p;
  const auto status = [&](const char* omniconv_conv_options::* word, const char* value) {
    omniconv_conv_options options = p.options;
    options.*word = value;
    return omniconv_conv(&p.dx, &p.dw, nullptr, nullptr, nullptr, &p.dy, &options);
  };
  using Options = omniconv_conv_options;
  const std::pair<const char* Options::*, const char*> words[] = {{&Options::padding_mode, "padding_mode"},
                                                                  {&Options::activation, "activation"},
                                                                  {&Options::precision, "precision"},
                                                                  {&Options::algorithm, "algorithm"}};
  for (const auto& [word, name] : words) {
    EXPECT_EQ(status(word, nullptr), OMNICONV_OK) << name;
    EXPECT_EQ(status(word, "nonsense"), OMNICONV_INVALID_ARGUMENT);
    expect_message({name, "'nonsense'", "allowed"});
  }
  EXPECT_EQ(status(&Options::algorithm, "im2col"), OMNICONV_OK);
  EXPECT_EQ(status(&Options::precision, "medium"), OMNICONV_OK);
  omniconv_conv_options options = p.options;
  options.algorithm = "direct";
  DLTensor first = p.dx;
  first.strides = nullptr;  // channels first, which direct declines
  EXPECT_EQ(omniconv_conv(&first, &p.dw, nullptr, nullptr, nullptr, &p.dy, &options), OMNICONV_NOT_SUPPORTED);
  expect_message({"'direct'", "NHWC"});
  EXPECT_EQ(omniconv_conv(&p.dx, &p.dw, nullptr, nullptr, nullptr, &p.dy, nullptr), OMNICONV_INVALID_ARGUMENT);
  expect_message({"weight", "groups=1"});  // the defaults
}

TEST(CApi, OptionsMayGrow) {
  Planned p;
  struct Newer {
    omniconv_conv_options known;
    int64_t unknown[4];
  } newer;
  std::memset(&newer, 0xff, sizeof newer);
  ASSERT_EQ(omniconv_conv_options_init(&newer.known, sizeof newer), OMNICONV_OK);
  EXPECT_EQ(newer.known.size, sizeof newer);
  for (int64_t value : newer.unknown) EXPECT_EQ(value, 0);
  newer.known.groups = 3;
  newer.known.stride[0] = 2;
  newer.known.pad_lo[0] = newer.known.pad_lo[1] = 1;
  EXPECT_EQ(omniconv_conv(&p.dx, &p.dw, nullptr, nullptr, nullptr, &p.dy, &newer.known), OMNICONV_OK);
  newer.unknown[3] = 1;
  EXPECT_EQ(omniconv_conv(&p.dx, &p.dw, nullptr, nullptr, nullptr, &p.dy, &newer.known), OMNICONV_NOT_SUPPORTED);
  expect_message({"options", OMNICONV_VERSION});
  for (size_t size : {size_t{0}, sizeof p.options - 1, ~size_t{0}}) {
    p.options.size = size;
    EXPECT_EQ(omniconv_conv(&p.dx, &p.dw, nullptr, nullptr, nullptr, &p.dy, &p.options), OMNICONV_INVALID_ARGUMENT);
    expect_message({"options", std::to_string(size).c_str(), "omniconv_conv_options_init"});
    EXPECT_EQ(omniconv_conv_options_init(&p.options, size), OMNICONV_INVALID_ARGUMENT);
  }
}

TEST(CApi, NullIsAnErrorThatNamesTheArgument) {
  Planned p;
  omniconv_conv_plan* plan = nullptr;
  ASSERT_EQ(omniconv_conv_plan_create(OMNICONV_CONV_FORWARD, &p.dx, &p.dw, &p.options, &plan), OMNICONV_OK);
  const auto null = [](omniconv_status status, const char* argument) {
    EXPECT_EQ(status, OMNICONV_INVALID_ARGUMENT) << argument;
    EXPECT_EQ(omniconv_last_error(), std::string(argument) + " is NULL");
  };
  const DLTensor *x = &p.dx, *w = &p.dw, *y = &p.dy, *n = nullptr;
  size_t size = 0;
  int64_t shape[4];
  null(omniconv_conv(n, w, n, n, n, y, &p.options), "x");
  null(omniconv_conv(x, n, n, n, n, y, &p.options), "weight");
  null(omniconv_conv(x, w, n, n, n, n, &p.options), "out");
  null(omniconv_conv_grad_input(n, w, n, n, n, x, &p.options), "grad");
  null(omniconv_conv_grad_input(y, n, n, n, n, x, &p.options), "weight");
  null(omniconv_conv_grad_input(y, w, n, n, n, n, &p.options), "out");
  null(omniconv_conv_grad_weight(n, x, w, &p.options), "grad");
  null(omniconv_conv_grad_weight(y, n, w, &p.options), "x");
  null(omniconv_conv_grad_weight(y, x, n, &p.options), "out");
  null(omniconv_conv_grad_bias(n, y), "grad");
  null(omniconv_conv_grad_bias(y, n), "out");
  null(omniconv_conv_output_shape(n, w, nullptr, shape), "x");
  null(omniconv_conv_output_shape(x, w, nullptr, nullptr), "shape");
  null(omniconv_conv_options_init(nullptr, sizeof p.options), "options");
  null(omniconv_conv_plan_create(OMNICONV_CONV_FORWARD, x, w, nullptr, nullptr), "plan");
  null(omniconv_conv_plan_pack(nullptr, w), "plan");
  null(omniconv_conv_plan_pack(plan, n), "weight");
  null(omniconv_conv_plan_run(nullptr, x, w, n, n, n, y, nullptr, 0), "plan");
  null(omniconv_conv_plan_run(plan, n, w, n, n, n, y, nullptr, 0), "a");
  null(omniconv_conv_plan_run(plan, x, w, n, n, n, n, nullptr, 0), "out");
  null(omniconv_conv_plan_workspace_bytes(nullptr, &size), "plan");
  null(omniconv_conv_plan_workspace_bytes(plan, nullptr), "bytes");
  null(omniconv_conv_plan_explain(nullptr, nullptr, &size), "plan");
  null(omniconv_conv_plan_explain(plan, nullptr, nullptr), "size");
  size = 10;
  null(omniconv_conv_plan_explain(plan, nullptr, &size), "text");
  null(omniconv_conv_algorithms(OMNICONV_CONV_FORWARD, x, w, &p.options, nullptr, nullptr), "visit");
  null(omniconv_get_num_threads(nullptr), "threads");
  null(omniconv_get_isa(nullptr), "isa");
  null(omniconv_set_isa(nullptr), "isa");
  omniconv_conv_plan_destroy(plan);
}

TEST(CApi, AStreamIsThatOfItsThread) {
  int stream;
  omniconv_set_stream(&stream);
  std::thread([] { EXPECT_EQ(c_api::current_stream(), nullptr); }).join();
  EXPECT_EQ(c_api::current_stream(), &stream);
  Planned p;  // on the CPU it means nothing
  EXPECT_EQ(omniconv_conv(&p.dx, &p.dw, nullptr, nullptr, nullptr, &p.dy, &p.options), OMNICONV_OK);
  omniconv_set_stream(nullptr);
}

TEST(CApi, BadTensorsAreErrors) {
  Planned p;
  const auto status = [&](const DLTensor& x) {
    return omniconv_conv(&x, &p.dw, nullptr, nullptr, nullptr, &p.dy, &p.options);
  };
  DLTensor bad = p.dx;
  bad.device.device_type = kDLMetal;
  EXPECT_EQ(status(bad), OMNICONV_NOT_SUPPORTED);
  expect_message({"x", "device type 8"});
  bad.device.device_type = kDLCUDA;  // which needs the plugin, a driver and a device, and all arrays there
  EXPECT_NE(status(bad), OMNICONV_OK);
  expect_message({"cuda:0"});
  bad = p.dx;
  bad.dtype.code = kDLBfloat;
  EXPECT_EQ(status(bad), OMNICONV_TYPE_ERROR);
  expect_message({"x has DLPack type code"});
  bad = p.dx;
  bad.ndim = 0;
  EXPECT_EQ(omniconv_conv(&p.dx, &p.dw, &bad, nullptr, nullptr, &p.dy, &p.options), OMNICONV_INVALID_ARGUMENT);
  expect_message({"bias has 0 dimensions"});
  bad = p.dx;
  int64_t shape[] = {int64_t{1} << 40, int64_t{1} << 40, 9, 8};
  bad.shape = shape;
  EXPECT_EQ(status(bad), OMNICONV_INVALID_ARGUMENT);
  expect_message({"x is too large"});
  int64_t broadcast[] = {int64_t{1} << 40, 6, 9, 8}, strides[] = {0, 1, 48, 6};
  bad.shape = broadcast;
  bad.strides = strides;
  EXPECT_EQ(status(bad), OMNICONV_INVALID_ARGUMENT);
  expect_message({"x of shape", "too large"});
  omniconv_conv_plan* plan = reinterpret_cast<omniconv_conv_plan*>(8);
  EXPECT_EQ(omniconv_conv_plan_create(OMNICONV_CONV_FORWARD, &bad, &p.dw, &p.options, &plan),
            OMNICONV_INVALID_ARGUMENT);
  EXPECT_EQ(plan, nullptr);
}

TEST(CApi, SettingsGoRound) {
  const Settings settings;
  int threads = 0;
  EXPECT_EQ(omniconv_set_num_threads(3), OMNICONV_OK);
  EXPECT_EQ(omniconv_get_num_threads(&threads), OMNICONV_OK);
  EXPECT_EQ(threads, 3);
  EXPECT_EQ(omniconv_set_num_threads(0), OMNICONV_INVALID_ARGUMENT);
  expect_message({"threads", "found 0"});
  std::vector<std::string> names;
  for (const char* const* isa = omniconv_available_isas(); *isa; ++isa) {
    names.push_back(*isa);
    const char* now = nullptr;
    EXPECT_EQ(omniconv_set_isa(*isa), OMNICONV_OK);
    EXPECT_EQ(omniconv_get_isa(&now), OMNICONV_OK);
    EXPECT_STREQ(now, *isa);
  }
  EXPECT_EQ(names.size(), available_isas().size());
  EXPECT_EQ(omniconv_set_isa("sse9"), OMNICONV_INVALID_ARGUMENT);
  expect_message({"isa", "'sse9'", "avx2"});
  EXPECT_STREQ(omniconv_version(), OMNICONV_VERSION);
}

TEST(CApi, EveryExceptionBecomesAStatus) {
  using c_api::guarded;
  EXPECT_EQ(guarded([] {}), OMNICONV_OK);
  const std::pair<Code, omniconv_status> codes[] = {{Code::invalid_argument, OMNICONV_INVALID_ARGUMENT},
                                                    {Code::type_error, OMNICONV_TYPE_ERROR},
                                                    {Code::not_supported, OMNICONV_NOT_SUPPORTED},
                                                    {Code::out_of_memory, OMNICONV_OUT_OF_MEMORY},
                                                    {Code::internal, OMNICONV_INTERNAL}};
  for (const auto& [code, status] : codes) EXPECT_EQ(guarded([c = code] { throw Error(c, "thrown"); }), status);
  EXPECT_STREQ(omniconv_last_error(), "thrown");
  EXPECT_EQ(guarded([] { throw std::bad_alloc(); }), OMNICONV_OUT_OF_MEMORY);
  EXPECT_EQ(guarded([] { throw std::length_error("long"); }), OMNICONV_INTERNAL);
  EXPECT_STREQ(omniconv_last_error(), "long");
  EXPECT_EQ(guarded([] { throw 7; }), OMNICONV_INTERNAL);
  EXPECT_EQ(guarded([] { throw Error(Code::internal, std::string(5000, 'm')); }), OMNICONV_INTERNAL);
  EXPECT_EQ(std::string(omniconv_last_error()), std::string(1023, 'm'));
}

TEST(CApi, TheLastErrorIsThatOfTheThread) {
  EXPECT_EQ(omniconv_set_isa("mine"), OMNICONV_INVALID_ARGUMENT);
  std::thread([] {
    EXPECT_STREQ(omniconv_last_error(), "");
    EXPECT_EQ(omniconv_set_isa("theirs"), OMNICONV_INVALID_ARGUMENT);
    expect_message({"'theirs'"});
  }).join();
  expect_message({"'mine'"});
  int threads;
  EXPECT_EQ(omniconv_get_num_threads(&threads), OMNICONV_OK);
  expect_message({"'mine'"});  // a success leaves it
}

}  // namespace
}  // namespace omniconv
