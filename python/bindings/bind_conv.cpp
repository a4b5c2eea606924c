// bindings/bind_conv.cpp -- ConvPlan for Python: checks, releases the GIL, forwards
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "arrays.hpp"
#include "omniconv/conv.hpp"

namespace omniconv::bindings {
namespace {

using Shape = std::vector<int64_t>;

constexpr auto kAnyDevice = TensorView::On::cpu_or_cuda;

// A cudaStream_t as the integer that frameworks show it as. DLPack's 1 is the legacy default stream.
void* stream_of(uintptr_t stream) { return reinterpret_cast<void*>(stream); }

// "cpu" or "cuda:<index>".
Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  if (text.rfind("cuda:", 0) == 0 && text.size() > 5 && text.size() < 10 &&
      text.find_first_not_of("0123456789", 5) == std::string::npos)
    return {kDLCUDA, std::stoi(text.substr(5))};
  throw Error(Code::invalid_argument, "device is '" + text + "'; allowed are 'cpu' and 'cuda:<index>'");
}

ConvOp parse_op(const std::string& text) {
  if (text == "forward") return ConvOp::forward;
  if (text == "grad_input") return ConvOp::grad_input;
  if (text == "grad_weight") return ConvOp::grad_weight;
  throw Error(Code::invalid_argument, "op is '" + text + "'; allowed are 'forward', 'grad_input', 'grad_weight'");
}

DType parse_dtype(const std::string& text) {
  if (text == "float32") return DType::float32;
  if (text == "float64") return DType::float64;
  throw Error(Code::type_error, "dtype is " + text + "; supported are float32 and float64");
}

std::array<int64_t, 3> per_axis(const char* name, const Shape& values, size_t spatial, int64_t otherwise) {
  if (values.size() != spatial)
    throw Error(Code::invalid_argument, std::string(name) + " has " + std::to_string(values.size()) +
                                            " values; expected are " + std::to_string(spatial));
  std::array<int64_t, 3> result{otherwise, otherwise, otherwise};
  std::copy(values.begin(), values.end(), result.begin());
  return result;
}

ConvDesc make_desc(const std::string& op, const std::string& dtype, const Shape& x_shape, const Shape& w_shape,
                   const Shape& stride, const Shape& dilation, const Shape& pad_lo, const Shape& pad_hi,
                   const Shape& output_padding, int64_t groups, const std::string& padding_mode,
                   const std::string& activation, double negative_slope, const std::string& precision,
                   bool channels_last, const std::string& algorithm, const std::string& device, bool weights_change,
                   int64_t workspace_limit) {
  ConvDesc d;
  d.op = parse_op(op);
  d.dtype = parse_dtype(dtype);
  d.spatial = int(stride.size());
  d.x_shape = x_shape;
  d.w_shape = w_shape;
  d.stride = per_axis("stride", stride, stride.size(), 1);
  d.dilation = per_axis("dilation", dilation, stride.size(), 1);
  d.pad_lo = per_axis("padding", pad_lo, stride.size(), 0);
  d.pad_hi = per_axis("padding", pad_hi, stride.size(), 0);
  d.output_padding = per_axis("output_padding", output_padding, stride.size(), 0);
  d.groups = groups;
  d.padding_mode = parse_padding_mode(padding_mode);
  d.activation = parse_activation(activation);
  d.negative_slope = negative_slope;
  d.precision = parse_precision(precision);
  d.channels_last = channels_last;
  d.algorithm = algorithm;
  d.device = parse_device(device);
  d.weights_change = weights_change;
  d.workspace_limit = workspace_limit;
  return d;
}

using Measured = std::vector<std::tuple<std::string, bool, double>>;

std::vector<std::tuple<std::string, bool, std::string, size_t, double, double>> rows_of(
    const std::vector<AlgorithmInfo>& infos) {
  std::vector<std::tuple<std::string, bool, std::string, size_t, double, double>> all;
  for (const AlgorithmInfo& a : infos)
    all.emplace_back(a.name, a.usable, a.reason, a.workspace_bytes, a.cost, a.measured);
  return all;
}

#define OMNICONV_DESC_ARGS                                                                                         \
  nb::arg("op"), nb::arg("dtype"), nb::arg("x_shape"), nb::arg("w_shape"), nb::arg("stride"), nb::arg("dilation"), \
      nb::arg("pad_lo"), nb::arg("pad_hi"), nb::arg("output_padding"), nb::arg("groups"), nb::arg("padding_mode"), \
      nb::arg("activation"), nb::arg("negative_slope"), nb::arg("precision"), nb::arg("channels_last"),            \
      nb::arg("algorithm"), nb::arg("device") = "cpu", nb::arg("weights_change") = false,                          \
                            nb::arg("workspace_limit") = -1

}  // namespace

void bind_conv(nb::module_& m) {
  nb::class_<ConvDesc>(m, "ConvDesc", "One convolution: shapes of the forward convolution, whatever the op.")
      .def_static("make", &make_desc, nb::kw_only(), OMNICONV_DESC_ARGS)
      .def_ro("x_shape", &ConvDesc::x_shape)
      .def_ro("w_shape", &ConvDesc::w_shape);
  m.def("conv_output_shape", &conv_output_shape, nb::arg("desc"));
  m.def(
      "conv_algorithms", [](const ConvDesc& desc) { return rows_of(algorithms(desc)); }, nb::arg("desc"),
      "(name, usable, reason, workspace_bytes, predicted seconds, measured seconds) of every algorithm, the best "
      "first.");
  m.def(
      "conv_tune",
      [](const ConvDesc& desc, double seconds) {
        std::vector<AlgorithmInfo> found;
        {
          nb::gil_scoped_release free;
          found = tune(desc, seconds);
        }
        return rows_of(found);
      },
      nb::arg("desc"), nb::arg("seconds"), "Measures, keeps the times, and returns what conv_algorithms then does.");
  m.def("conv_tuned", [] {
    std::vector<std::tuple<std::string, Measured>> all;
    for (const TunedProblem& p : tuned_problems()) {
      all.emplace_back(p.key, Measured{});
      for (const MeasuredTime& t : p.times)
        std::get<1>(all.back()).emplace_back(t.algorithm, t.channels_last, t.seconds);
    }
    return all;
  });
  m.def(
      "conv_add_tuned",
      [](const std::vector<std::tuple<std::string, Measured>>& problems) {
        std::vector<TunedProblem> all;
        for (const auto& [key, times] : problems) {
          all.push_back({key, {}});
          for (const auto& [algorithm, last, seconds] : times) all.back().times.push_back({algorithm, last, seconds});
        }
        add_tuned_problems(all);
      },
      nb::arg("problems"));
  m.def("conv_clear_tuned", &clear_tuned_problems);
  m.def(
      "conv_grad_bias",
      [](nb::handle grad, nb::handle out, bool channels_last, uintptr_t stream) {
        const Input g(grad, "grad", channels_last, kAnyDevice);
        const Output o(out, "out", false, kAnyDevice);
        if (!g.view().defined()) throw Error(Code::type_error, "grad is None; expected is an array");
        nb::gil_scoped_release free;
        conv_grad_bias(g.view(), o.view(), stream_of(stream));
      },
      nb::arg("grad").none(), nb::arg("out"), nb::arg("channels_last") = false, nb::arg("stream") = 0);

  nb::class_<ConvPlan>(m, "ConvPlan")
      .def(nb::init<const ConvDesc&>(), nb::arg("desc"))
      .def(
          "pack",
          [](ConvPlan& plan, nb::handle weight, uintptr_t stream) {
            const Input w(weight, "weight", false, kAnyDevice);
            nb::gil_scoped_release free;
            plan.pack(w.view(), stream_of(stream));
          },
          nb::arg("weight"), nb::arg("stream") = 0)
      .def(
          "run",
          [](const ConvPlan& plan, nb::handle a, nb::handle b, nb::handle out, nb::handle bias, nb::handle scale,
             nb::handle residual, bool channels_last, uintptr_t stream, nb::handle workspace) {
            const ConvOp op = plan.desc().op;
            const bool grad_weight = op == ConvOp::grad_weight;
            const Input a_(a, op == ConvOp::forward ? "x" : "grad", channels_last, kAnyDevice);
            const Input b_(b, grad_weight ? "x" : "weight", grad_weight && channels_last, kAnyDevice);
            const Output out_(out, "out", !grad_weight && channels_last, kAnyDevice);
            const Input bias_(bias, "bias", false, kAnyDevice), scale_(scale, "scale", false, kAnyDevice),
                residual_(residual, "residual", channels_last, kAnyDevice);
            const Output room(workspace, "workspace", false, kAnyDevice);
            const ConvOperands o{a_.view(),     b_.view(),        out_.view(),      bias_.view(),
                                 scale_.view(), residual_.view(), stream_of(stream)};
            nb::gil_scoped_release free;
            if (!room.view().defined()) return plan.run(o);
            plan.run(o, room.view().data, size_t(room.view().size() * room.view().item_size()));
          },
          nb::arg("a").none(), nb::arg("b").none(), nb::arg("out").none(), nb::arg("bias").none() = nb::none(),
          nb::arg("scale").none() = nb::none(), nb::arg("residual").none() = nb::none(),
          nb::arg("channels_last") = false, nb::arg("stream") = 0, nb::arg("workspace").none() = nb::none())
      .def("explain", &ConvPlan::explain)
      .def_prop_ro(
          "input_shape",
          [](const ConvPlan& plan) {
            return plan.desc().op == ConvOp::forward ? plan.desc().x_shape : conv_output_shape(plan.desc());
          },
          "Shape of the first operand, [N, C, *spatial].")
      .def_prop_ro("output_shape", &ConvPlan::output_shape)
      .def_prop_ro("algorithm", &ConvPlan::algorithm)
      .def_prop_ro("workspace_bytes", &ConvPlan::workspace_bytes)
      .def_prop_ro("packed_bytes", &ConvPlan::packed_bytes)
      .def_prop_ro("flops", &ConvPlan::flops);
}

}  // namespace omniconv::bindings
