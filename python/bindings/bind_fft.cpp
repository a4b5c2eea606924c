// bindings/bind_fft.cpp -- FftConvPlan and FftSpectrum for Python: checks, releases the GIL, forwards
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <iterator>
#include <memory>

#include "arrays.hpp"
#include "omniconv/fft.hpp"

namespace omniconv::bindings {
namespace {

DType real_dtype(const std::string& dtype) {
  if (dtype != "float32" && dtype != "float64")
    throw Error(Code::type_error, "dtype is " + dtype + "; supported are float32 and float64");
  return dtype == "float32" ? DType::float32 : DType::float64;
}

FftConvDesc make_desc(const std::string& dtype, const std::string& mode, int64_t length, int64_t taps,
                      int64_t reverse_taps, const std::string& algorithm, int halvings = 0, double keep = 1) {
  FftConvDesc d;
  d.dtype = real_dtype(dtype);
  d.mode = parse_fft_mode(mode);
  d.length = length;
  d.taps = taps;
  d.reverse_taps = reverse_taps;
  d.algorithm = algorithm;
  d.halvings = halvings;
  d.keep = keep;
  return d;
}

// [B, L, H] as [B, H, L], and [B, C, L, H] as [B, C, H, L].
TensorView rows_last(TensorView v, bool blh) {
  if (!blh || v.ndim < 3) return v;
  int axes[kMaxDims];
  for (int i = 0; i < v.ndim; ++i) axes[i] = i;
  std::swap(axes[v.ndim - 1], axes[v.ndim - 2]);
  return v.permuted(axes);
}

void run(const FftConvPlan& plan, const FftSpectrum& spectrum, nb::handle u, nb::handle out, nb::handle pre_gate,
         nb::handle post_gate, nb::handle skip, nb::handle bias, const std::string& activation, double negative_slope,
         bool blh, nb::handle out2, nb::handle post_gate2) {
  const Input u_(u, spectrum.direction() == FftDirection::forward ? "u" : "grad"), pre(pre_gate, "pre_gate"),
      post(post_gate, "post_gate"), skip_(skip, "skip"), bias_(bias, "bias"), post2(post_gate2, "post_gate2");
  const Output out_(out, "out"), out2_(out2, "out2");
  FftConvOperands o;
  o.u = rows_last(u_.view(), blh);
  o.out = rows_last(out_.view(), blh);
  o.pre_gate = rows_last(pre.view(), blh);
  o.post_gate = rows_last(post.view(), blh);
  o.skip = skip_.view();
  o.bias = bias_.view();
  o.activation = parse_activation(activation);
  o.negative_slope = negative_slope;
  o.out2 = rows_last(out2_.view(), blh);
  o.post_gate2 = rows_last(post2.view(), blh);
  nb::gil_scoped_release free;
  plan.run(spectrum, o);
}

// `arrays` and `results` in the order of the text that bind_fft gives; None where there is none.
void backward(const FftConvPlan& plan, const FftSpectrum* spectrum, const std::vector<nb::object>& arrays,
              const std::vector<nb::object>& results, bool per_sample, const std::string& activation,
              double negative_slope, bool blh) {
  constexpr const char* kArrays[] = {"grad", "u", "k", "pre_gate", "post_gate", "skip", "bias", "k_rev", "sums"};
  constexpr const char* kResults[] = {"du", "dk", "dpre_gate", "dpost_gate", "dskip", "dbias", "dk_rev"};
  if (arrays.size() != std::size(kArrays) || results.size() != std::size(kResults))
    throw Error(Code::invalid_argument, "wrong number of arrays");
  std::vector<std::unique_ptr<Input>> in;
  std::vector<std::unique_ptr<Output>> out;
  for (size_t i = 0; i < arrays.size(); ++i) in.push_back(std::make_unique<Input>(arrays[i], kArrays[i]));
  for (size_t i = 0; i < results.size(); ++i) out.push_back(std::make_unique<Output>(results[i], kResults[i]));
  const auto rows = [&](const auto& all, int i) { return rows_last(all[i]->view(), blh); };
  FftConvBackward o;
  o.grad = rows(in, 0);
  o.u = rows(in, 1);
  o.k = in[2]->view();
  o.pre_gate = rows(in, 3);
  o.post_gate = rows(in, 4);
  o.skip = in[5]->view();
  o.bias = in[6]->view();
  o.k_reverse = in[7]->view();
  o.sums = rows(in, 8);
  o.du = rows(out, 0);
  o.dk = out[1]->view();
  o.dpre_gate = rows(out, 2);
  o.dpost_gate = rows(out, 3);
  o.dskip = out[4]->view();
  o.dbias = out[5]->view();
  o.dk_reverse = out[6]->view();
  o.activation = parse_activation(activation);
  o.negative_slope = negative_slope;
  o.per_sample = per_sample;
  nb::gil_scoped_release free;
  plan.backward(o, spectrum);
}

}  // namespace

void bind_fft(nb::module_& m) {
  nb::class_<FftSpectrum>(m, "FftSpectrum")
      .def_prop_ro("rows", &FftSpectrum::rows)
      .def_prop_ro("per_sample", &FftSpectrum::per_sample)
      .def_prop_ro("nbytes", &FftSpectrum::bytes);

  nb::class_<FftConvPlan>(m, "FftConvPlan")
      .def(
          "__init__",
          [](FftConvPlan* self, const std::string& dtype, const std::string& mode, int64_t length, int64_t taps,
             int64_t reverse_taps, const std::string& algorithm, int halvings, double keep) {
            new (self) FftConvPlan(make_desc(dtype, mode, length, taps, reverse_taps, algorithm, halvings, keep));
          },
          nb::arg("dtype"), nb::arg("mode"), nb::arg("length"), nb::arg("taps"), nb::arg("reverse_taps") = 0,
          nb::arg("algorithm") = "auto", nb::arg("halvings") = 0, nb::arg("keep") = 1.0)
      .def(
          "transform",
          [](const FftConvPlan& plan, nb::handle k, nb::handle k_rev, bool per_sample, bool adjoint) {
            const Input k_(k, "k"), r(k_rev, "k_rev");
            nb::gil_scoped_release free;
            return plan.transform(k_.view(), r.view(), per_sample,
                                  adjoint ? FftDirection::adjoint : FftDirection::forward);
          },
          nb::arg("k"), nb::arg("k_rev").none() = nb::none(), nb::arg("per_sample") = false, nb::arg("adjoint") = false)
      .def("run", &run, nb::arg("spectrum"), nb::arg("u"), nb::arg("out"), nb::arg("pre_gate").none() = nb::none(),
           nb::arg("post_gate").none() = nb::none(), nb::arg("skip").none() = nb::none(),
           nb::arg("bias").none() = nb::none(), nb::arg("activation") = "none", nb::arg("negative_slope") = 0.01,
           nb::arg("blh") = false, nb::arg("out2").none() = nb::none(), nb::arg("post_gate2").none() = nb::none())
      .def(
          "kernel_gradient",
          [](const FftConvPlan& plan, nb::handle u, nb::handle pre_gate, nb::handle grad, nb::handle dk,
             nb::handle dk_rev, bool per_sample, bool blh) {
            const Input u_(u, "u"), pre(pre_gate, "pre_gate"), g(grad, "grad");
            const Output k(dk, "dk"), r(dk_rev, "dk_rev");
            nb::gil_scoped_release free;
            plan.kernel_gradient(rows_last(u_.view(), blh), rows_last(pre.view(), blh), rows_last(g.view(), blh),
                                 k.view(), r.view(), per_sample);
          },
          nb::arg("u"), nb::arg("pre_gate").none(), nb::arg("grad"), nb::arg("dk").none(), nb::arg("dk_rev").none(),
          nb::arg("per_sample") = false, nb::arg("blh") = false)
      .def("backward", &backward, nb::arg("spectrum").none(), nb::arg("arrays"), nb::arg("results"),
           nb::arg("per_sample"), nb::arg("activation"), nb::arg("negative_slope"), nb::arg("blh"),
           "arrays: grad, u, k, pre_gate, post_gate, skip, bias, k_rev, sums; results: du, dk, dpre_gate, dpost_gate, "
           "dskip, dbias, dk_rev.")
      .def("explain", &FftConvPlan::explain)
      .def_prop_ro("output_length", &FftConvPlan::output_length)
      .def_prop_ro("algorithm", &FftConvPlan::algorithm)
      .def_prop_ro("transform_length", &FftConvPlan::transform_length)
      .def_prop_ro("workspace_bytes", [](const FftConvPlan& plan) { return plan.workspace_bytes(); });

  m.def(
      "fft_conv_algorithms",
      [](const std::string& dtype, const std::string& mode, int64_t length, int64_t taps, int64_t reverse_taps) {
        std::vector<std::tuple<std::string, bool, std::string, size_t, double>> all;
        for (const AlgorithmInfo& a : fft_conv_algorithms(make_desc(dtype, mode, length, taps, reverse_taps, "auto")))
          all.emplace_back(a.name, a.usable, a.reason, a.workspace_bytes, a.cost);
        return all;
      },
      nb::arg("dtype"), nb::arg("mode"), nb::arg("length"), nb::arg("taps"), nb::arg("reverse_taps") = 0,
      "(name, usable, reason, workspace_bytes, predicted seconds of a row) of every algorithm, the best first.");
  m.def(
      "fft_halvings",
      [](const std::string& dtype, int64_t length, double keep) {
        return fft_halvings(real_dtype(dtype), length, keep);
      },
      nb::arg("dtype"), nb::arg("length"), nb::arg("keep"));
  m.def(
      "fft_lower_rate_length",
      [](const std::string& dtype, int64_t length, double keep, int halvings) {
        return fft_lower_rate_length(real_dtype(dtype), length, keep, halvings);
      },
      nb::arg("dtype"), nb::arg("length"), nb::arg("keep"), nb::arg("halvings"));
  m.def(
      "fft_conv_epilogue_gradient",
      [](nb::handle s, nb::handle grad, nb::handle post_gate, nb::handle dpost_gate, nb::handle u, nb::handle pre_gate,
         nb::handle dskip, nb::handle dbias, const std::string& activation, double negative_slope, bool blh) {
        const Output s_(s, "s"), dpost(dpost_gate, "dpost_gate"), dskip_(dskip, "dskip"), dbias_(dbias, "dbias");
        const Input g(grad, "grad"), post(post_gate, "post_gate"), u_(u, "u"), pre(pre_gate, "pre_gate");
        FftEpilogueGradient o;
        o.s = rows_last(s_.view(), blh);
        o.grad = rows_last(g.view(), blh);
        o.post_gate = rows_last(post.view(), blh);
        o.dpost_gate = rows_last(dpost.view(), blh);
        o.u = rows_last(u_.view(), blh);
        o.pre_gate = rows_last(pre.view(), blh);
        o.dskip = dskip_.view();
        o.dbias = dbias_.view();
        o.activation = parse_activation(activation);
        o.negative_slope = negative_slope;
        nb::gil_scoped_release free;
        fft_conv_epilogue_gradient(o);
      },
      nb::arg("s"), nb::arg("grad"), nb::arg("post_gate").none(), nb::arg("dpost_gate").none(), nb::arg("u").none(),
      nb::arg("pre_gate").none(), nb::arg("dskip").none(), nb::arg("dbias").none(), nb::arg("activation"),
      nb::arg("negative_slope"), nb::arg("blh"));
}

}  // namespace omniconv::bindings
