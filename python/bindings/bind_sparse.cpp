// bindings/bind_sparse.cpp -- sites, kernel maps and sparse convolution for Python
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include "arrays.hpp"
#include "omniconv/conv.hpp"
#include "omniconv/masked.hpp"
#include "omniconv/sparse.hpp"
#include "omniconv/spikes.hpp"

namespace omniconv::bindings {
namespace {

using Ints = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Sizes = std::vector<int64_t>;

template <class T>
nb::ndarray<nb::numpy, T> owned(std::vector<T>&& values, std::initializer_list<size_t> shape) {
  auto* kept = new std::vector<T>(std::move(values));
  const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T>(kept->data(), shape, owner);
}

std::array<int64_t, kMaxSparseDims> per_axis(const Sizes& sizes, int64_t rest) {
  std::array<int64_t, kMaxSparseDims> out;
  out.fill(rest);
  for (size_t i = 0; i < sizes.size() && i < out.size(); ++i) out[i] = sizes[i];
  return out;
}

SparseWindow window_of(const Sizes& kernel, const Sizes& stride, const Sizes& padding, const Sizes& dilation) {
  return {per_axis(kernel, 1), per_axis(stride, 1), per_axis(padding, 0), per_axis(dilation, 1)};
}

std::shared_ptr<SparseSites> make_sites(const Ints& coords) {
  nb::gil_scoped_release release;
  return std::make_shared<SparseSites>(coords.data(), int64_t(coords.shape(0)), int(coords.shape(1)) - 1);
}

nb::ndarray<nb::numpy, int32_t> triples(const SparseMap& map) {
  std::vector<int32_t> rows;
  rows.reserve(size_t(map.pairs()) * 3);
  for (size_t i = 0; i < map.tiles().size(); ++i) {
    const SparseMap::Tile& tile = map.tiles()[i];
    for (int32_t tap = 0; tap < int32_t(map.taps()); ++tap)
      for (int32_t p = tile.begin[size_t(tap)]; p < tile.begin[size_t(tap) + 1]; ++p)
        rows.insert(rows.end(), {tile.pairs[size_t(p)].in, map.out_row(int64_t(i), tile.pairs[size_t(p)].out), tap});
  }
  const size_t count = rows.size() / 3;
  return owned(std::move(rows), {count, 3});
}

void convolve(const SparseMap& map, nb::handle x, nb::handle weight, int64_t groups, nb::handle bias, nb::handle scale,
              nb::handle residual, const std::string& activation, float negative_slope, nb::handle out) {
  const Input x_array(x, "features"), w(weight, "weight"), b(bias, "bias"), s(scale, "scale"), r(residual, "residual");
  const Output y(out, "out");
  const SparseEpilogue epilogue{b.view(), s.view(), r.view(), parse_activation(activation), negative_slope};
  nb::gil_scoped_release release;
  sparse_convolve(map, x_array.view(), w.view(), groups, epilogue, y.view());
}

void grad_weight(const SparseMap& map, nb::handle x, nb::handle grad, int64_t groups, nb::handle out) {
  const Input x_array(x, "features"), g(grad, "grad");
  const Output dw(out, "out");
  nb::gil_scoped_release release;
  sparse_grad_weight(map, x_array.view(), g.view(), groups, dw.view());
}

template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void multiply(const Vector<int64_t>& indptr, const Vector<int32_t>& indices, const std::vector<nb::object>& factors,
              int64_t columns, nb::handle x, nb::handle bias, const std::string& activation, float negative_slope,
              nb::handle out) {
  const Input x_array(x, "x"), b(bias, "bias");
  const Output y(out, "out");
  const int64_t rows = int64_t(indptr.shape(0)) - 1, entries = int64_t(indices.shape(0));
  CsrView m{indptr.data(), indices.data(), nullptr, nullptr, nullptr, rows, columns, entries};
  const std::tuple<const char*, const float**, int64_t> targets[] = {
      {"values", &m.values, entries}, {"row_scale", &m.row_scale, rows}, {"column_scale", &m.column_scale, columns}};
  std::vector<Vector<float>> kept;
  for (size_t i = 0; i < 3; ++i) {
    if (factors[i].is_none()) continue;
    kept.push_back(nb::cast<Vector<float>>(factors[i]));
    const auto& [name, to, size] = targets[i];
    if (int64_t(kept.back().shape(0)) != size)
      throw Error(Code::invalid_argument, std::string(name) + " has " + std::to_string(kept.back().shape(0)) +
                                              " elements; expected are " + std::to_string(size));
    *to = kept.back().data();
  }
  const Activation a = parse_activation(activation);
  nb::gil_scoped_release release;
  spmm(m, x_array.view(), b.view(), a, negative_slope, y.view());
}

SparsePool parse_pool(const std::string& text) {
  if (text == "max") return SparsePool::max;
  if (text == "sum") return SparsePool::sum;
  if (text == "avg") return SparsePool::mean;
  throw Error(Code::invalid_argument, "mode is '" + text + "'; allowed are 'max', 'sum', 'avg'");
}

void pool(const SparseMap& map, const std::string& mode, nb::handle x, nb::handle out) {
  const Input x_array(x, "features");
  const Output y(out, "out");
  const SparsePool how = parse_pool(mode);
  nb::gil_scoped_release release;
  sparse_pool(map, how, x_array.view(), y.view());
}

void pool_grad(const SparseMap& map, const SparseMap& adjoint, const std::string& mode, nb::handle x, nb::handle grad,
               nb::handle out) {
  const Input x_array(x, "features"), g(grad, "grad");
  const Output dx(out, "out");
  const SparsePool how = parse_pool(mode);
  nb::gil_scoped_release release;
  sparse_pool_grad(map, adjoint, how, x_array.view(), g.view(), dx.view());
}

using Cells = nb::ndarray<const uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

void masked(const ConvDesc& desc, const Cells& mask, nb::handle a, nb::handle b, nb::handle out, nb::handle bias,
            nb::handle scale, nb::handle residual, bool channels_last) {
  const bool grad_weight = desc.op == ConvOp::grad_weight;
  const Input a_(a, desc.op == ConvOp::forward ? "x" : "grad", channels_last),
      b_(b, grad_weight ? "x" : "weight", grad_weight && channels_last), bias_(bias, "bias"), scale_(scale, "scale"),
      residual_(residual, "residual", channels_last);
  const Output out_(out, "out", !grad_weight && channels_last);
  const CellMask cells{mask.data(), int64_t(mask.shape(0)), int64_t(mask.shape(1)), int64_t(mask.shape(2))};
  nb::gil_scoped_release release;
  masked_convolve(desc, cells, {a_.view(), b_.view(), out_.view(), bias_.view(), scale_.view(), residual_.view()});
}

MaskedConvPlan masked_plan(const ConvDesc& desc, int64_t rows, int64_t columns, nb::handle weight) {
  const Input w(weight, "weight");
  nb::gil_scoped_release release;
  MaskedConvPlan plan(desc, rows, columns);
  plan.pack(w.view());
  return plan;
}

void run_masked(const MaskedConvPlan& plan, const Cells& mask, nb::handle x, nb::handle out, nb::handle bias,
                nb::handle scale, nb::handle residual, bool channels_last) {
  const Input x_(x, "x", channels_last), bias_(bias, "bias"), scale_(scale, "scale"),
      residual_(residual, "residual", channels_last);
  const Output out_(out, "out", channels_last);
  const CellMask cells{mask.data(), int64_t(mask.shape(0)), int64_t(mask.shape(1)), int64_t(mask.shape(2))};
  nb::gil_scoped_release release;
  plan.run(cells, {x_.view(), {}, out_.view(), bias_.view(), scale_.view(), residual_.view()});
}

// ---- spikes ------------------------------------------------------------------------------------------------------

template <class T, int N>
using Dense = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using Counts = Dense<const uint8_t, 3>;  // [steps, rows, channels]

SpikeRows rows_of(const Counts& x, int most) {
  return {x.data(), int64_t(x.shape(0)), int64_t(x.shape(1)), int64_t(x.shape(2)), most};
}

// The memory of an optional array, whose sizes have to be these.
template <class T>
T* memory(nb::handle object, const char* argument, std::initializer_list<int64_t> shape) {
  if (object.is_none()) return nullptr;
  nb::ndarray<T, nb::c_contig, nb::device::cpu> array;
  bool fits = nb::try_cast(object, array) && array.ndim() == shape.size();
  for (size_t i = 0; fits && i < array.ndim(); ++i) fits = int64_t(array.shape(i)) == shape.begin()[i];
  if (!fits)
    throw Error(Code::invalid_argument, std::string(argument) + " does not fit: expected is a dense array of shape " +
                                            shape_string(shape.begin(), int(shape.size())) + " and its dtype");
  return array.data();
}

SpikeNeuron neuron_of(int levels, const std::string& rounding) {
  if (rounding != "half_up" && rounding != "half_even")
    throw Error(Code::invalid_argument, "rounding is '" + rounding + "'; allowed are 'half_up', 'half_even'");
  return {levels, rounding == "half_even"};
}

constexpr const char* kSpikeAlgorithms[] = {"auto", "dense", "events", "reference"};

const char* convolve_spikes(const SparseMap& map, const Counts& x, int most, const SpikeWeight& weight,
                            nb::handle scale, nb::handle bias, nb::handle residual, int levels,
                            const std::string& rounding, nb::handle sums, nb::handle membrane, nb::handle spikes,
                            const std::string& algorithm) {
  const SpikeRows rows = rows_of(x, most);
  const int64_t outs = weight.out_channels(), sites = map.out()->rows();
  SpikeResult r;
  r.scale = memory<const float>(scale, "scale", {outs});
  r.bias = memory<const float>(bias, "bias", {outs});
  r.residual = memory<const float>(residual, "residual", {rows.steps, sites, outs});
  r.neuron = neuron_of(levels, rounding);
  r.sums = memory<int32_t>(sums, "sums", {rows.steps, sites, outs});
  r.membrane = memory<float>(membrane, "membrane", {rows.steps, sites, outs});
  r.spikes = memory<uint8_t>(spikes, "spikes", {rows.steps, sites, outs});
  size_t chosen = 0;
  while (chosen < 4 && algorithm != kSpikeAlgorithms[chosen]) ++chosen;
  if (chosen == 4)
    throw Error(Code::invalid_argument,
                "algorithm is '" + algorithm + "'; allowed are 'auto', 'dense', 'events', 'reference'");
  nb::gil_scoped_release release;
  return kSpikeAlgorithms[int(spike_convolve(map, rows, weight, r, SpikeAlgorithm(chosen)))];
}

void fire_neuron(const Dense<const float, 1>& membrane, int levels, const std::string& rounding,
                 const Dense<uint8_t, 1>& spikes) {
  const SpikeNeuron neuron = neuron_of(levels, rounding);
  nb::gil_scoped_release release;
  fire(membrane.data(), int64_t(membrane.shape(0)), neuron, spikes.data());
}

void bind_spikes(nb::module_& m) {
  nb::class_<SpikeWeight>(m, "SpikeWeight")
      .def(
          "__init__",
          [](SpikeWeight* self, const Dense<const int8_t, 3>& w, int64_t groups) {
            new (self) SpikeWeight(w.data(), int64_t(w.shape(0)), int64_t(w.shape(1)), int64_t(w.shape(2)), groups);
          },
          nb::arg("weight"), nb::arg("groups"));
  m.def("spike_conv", &convolve_spikes, nb::arg("map"), nb::arg("counts"), nb::arg("most"), nb::arg("weight"),
        nb::arg("scale").none(), nb::arg("bias").none(), nb::arg("residual").none(), nb::arg("levels"),
        nb::arg("rounding"), nb::arg("sums").none(), nb::arg("membrane").none(), nb::arg("spikes").none(),
        nb::arg("algorithm"));
  m.def("spike_fire", &fire_neuron, nb::arg("membrane"), nb::arg("levels"), nb::arg("rounding"), nb::arg("spikes"));
  m.def("spike_rate", [](const Counts& x) { return firing_rate(rows_of(x, 255)); }, nb::arg("counts"));
}

}  // namespace

void bind_sparse(nb::module_& m) {
  bind_spikes(m);
  nb::class_<SparseSites>(m, "SparseSites")
      .def_prop_ro("rows", &SparseSites::rows)
      .def_prop_ro("dims", &SparseSites::dims)
      .def_prop_ro("distinct", &SparseSites::distinct)
      .def("coords",
           [](const SparseSites& s) {
             return owned(std::vector<int32_t>(s.coords()), {size_t(s.rows()), size_t(s.dims()) + 1});
           })
      .def("order", [](const SparseSites& s) { return owned(std::vector<int32_t>(s.order()), {size_t(s.rows())}); })
      .def("starts",
           [](const SparseSites& s) { return owned(std::vector<int64_t>(s.starts()), {size_t(s.distinct()) + 1}); });
  m.def("sparse_sites", &make_sites, nb::arg("coords"));
  m.def(
      "sparse_reached",
      [](const std::shared_ptr<SparseSites>& in, const Sizes& kernel, const Sizes& stride, const Sizes& padding,
         const Sizes& dilation, bool transposed, const Sizes& low, const Sizes& high) {
        const SparseBounds bounds{per_axis(low, 0), per_axis(high, 0)};
        nb::gil_scoped_release release;
        return std::const_pointer_cast<SparseSites>(reached_sites(*in, window_of(kernel, stride, padding, dilation),
                                                                  transposed, low.empty() ? nullptr : &bounds));
      },
      nb::arg("sites"), nb::arg("kernel"), nb::arg("stride"), nb::arg("padding"), nb::arg("dilation"),
      nb::arg("transposed"), nb::arg("low"), nb::arg("high"));
  nb::class_<SparseMap>(m, "SparseMap")
      .def_prop_ro("taps", &SparseMap::taps)
      .def_prop_ro("pairs", &SparseMap::pairs)
      .def("tap_pairs", &SparseMap::tap_pairs)
      .def("triples", &triples, "int32 [pairs, 3]: row of the input, row of the output, tap")
      .def("adjoint", &SparseMap::adjoint, nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "sparse_map",
      [](const std::shared_ptr<SparseSites>& in, const std::shared_ptr<SparseSites>& out, const Sizes& kernel,
         const Sizes& stride, const Sizes& padding, const Sizes& dilation) {
        nb::gil_scoped_release release;
        return SparseMap(in, out, window_of(kernel, stride, padding, dilation));
      },
      nb::arg("sites"), nb::arg("out"), nb::arg("kernel"), nb::arg("stride"), nb::arg("padding"), nb::arg("dilation"));
  m.def("sparse_conv", &convolve, nb::arg("map"), nb::arg("features"), nb::arg("weight"), nb::arg("groups"),
        nb::arg("bias").none(), nb::arg("scale").none(), nb::arg("residual").none(), nb::arg("activation"),
        nb::arg("negative_slope"), nb::arg("out"));
  m.def("sparse_grad_weight", &grad_weight, nb::arg("map"), nb::arg("features"), nb::arg("grad"), nb::arg("groups"),
        nb::arg("out"));
  m.def("sparse_pool", &pool, nb::arg("map"), nb::arg("mode"), nb::arg("features"), nb::arg("out"));
  m.def("sparse_pool_grad", &pool_grad, nb::arg("map"), nb::arg("adjoint"), nb::arg("mode"), nb::arg("features"),
        nb::arg("grad"), nb::arg("out"));
  m.def("masked_conv", &masked, nb::arg("desc"), nb::arg("mask"), nb::arg("a"), nb::arg("b"), nb::arg("out"),
        nb::arg("bias").none(), nb::arg("scale").none(), nb::arg("residual").none(), nb::arg("channels_last"));
  nb::class_<MaskedConvPlan>(m, "MaskedConvPlan")
      .def(
          "__init__",
          [](MaskedConvPlan* self, const ConvDesc& desc, int64_t rows, int64_t columns, nb::handle weight) {
            new (self) MaskedConvPlan(masked_plan(desc, rows, columns, weight));
          },
          nb::arg("desc"), nb::arg("rows"), nb::arg("columns"), nb::arg("weight"))
      .def("run", &run_masked, nb::arg("mask"), nb::arg("x"), nb::arg("out"), nb::arg("bias").none(),
           nb::arg("scale").none(), nb::arg("residual").none(), nb::arg("channels_last"))
      .def_prop_ro("output_shape", &MaskedConvPlan::output_shape)
      .def_prop_ro("algorithm", &MaskedConvPlan::algorithm);
  m.def("spmm", &multiply, nb::arg("indptr"), nb::arg("indices"), nb::arg("factors"), nb::arg("columns"), nb::arg("x"),
        nb::arg("bias").none(), nb::arg("activation"), nb::arg("negative_slope"), nb::arg("out"));
}

}  // namespace omniconv::bindings
