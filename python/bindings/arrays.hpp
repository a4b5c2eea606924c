// bindings/arrays.hpp -- Python arrays as TensorView, with errors that name the argument
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>  // every unit must see one and the same caster: the constructor below is inline

#include <optional>

#include "omniconv/tensor.hpp"

namespace omniconv::bindings {

namespace nb = nanobind;

// Keeps the memory of an argument alive as long as its view is used. `Access` is nb::ro for inputs: a writable
// request would refuse read-only NumPy and all JAX arrays.
template <class... Access>
class Array {
 public:
  // None leaves the view undefined. `channels_last`: the shape is [N, *spatial, C]; the view is [N, C, *spatial].
  Array(nb::handle object, const char* argument, bool channels_last = false,
        TensorView::On allowed = TensorView::On::cpu, TensorView::Types types = TensorView::Types::floats) {
    if (object.is_none()) return;
    if (!nb::try_cast(object, array_))
      throw Error(Code::type_error, std::string(argument) + " is a " + nb::cast<std::string>(nb::str(object.type())) +
                                        (sizeof...(Access) ? "; expected is an array that supports DLPack"
                                                           : "; expected is a writable array that supports DLPack"));
    DLTensor t{};
    t.data = const_cast<void*>(static_cast<const void*>(array_.data()));
    t.device = {DLDeviceType(array_.device_type()), array_.device_id()};
    t.ndim = int(array_.ndim());
    t.dtype = {array_.dtype().code, array_.dtype().bits, array_.dtype().lanes};
    t.shape = const_cast<int64_t*>(array_.shape_ptr());
    t.strides = const_cast<int64_t*>(array_.stride_ptr());
    view_ = TensorView::from_dlpack(t, argument, allowed, types);
    if (view_.ndim == 0)
      throw Error(Code::invalid_argument, std::string(argument) + " is a scalar, an array without dimensions");
    if (!channels_last || view_.ndim < 3) return;
    int axes[kMaxDims] = {0, view_.ndim - 1};
    for (int i = 2; i < view_.ndim; ++i) axes[i] = i - 1;
    view_ = view_.permuted(axes);
  }

  const TensorView& view() const { return view_; }

 private:
  nb::ndarray<Access...> array_;
  TensorView view_;
};

using Input = Array<nb::ro>;
using Output = Array<>;

void bind_bessel(nb::module_& m);
void bind_conv(nb::module_& m);
void bind_dfp16(nb::module_& m);
void bind_fft(nb::module_& m);
void bind_mlp(nb::module_& m);
void bind_nn(nb::module_& m);
void bind_sparse(nb::module_& m);

}  // namespace omniconv::bindings
