// conv/grad_bias.cpp -- gradient of the bias: the gradient summed over everything but channels
#include "conv/device_plan.hpp"
#include "conv/operands.hpp"
#include "core/device.hpp"
#include "core/thread_pool.hpp"
#include "omniconv/conv.hpp"

namespace omniconv {
namespace {

template <class T>
void sum_channels(const TensorView& grad, const TensorView& out) {
  const conv::Strides s = conv::strides_of(grad);
  int64_t size[conv::kAxes] = {1, 1, 1};
  for (int i = 2; i < grad.ndim; ++i) size[conv::kAxes - grad.ndim + i] = grad.shape[i];
  parallel_for(grad.shape[1], [&](int64_t c, int) {
    double sum = 0;
    for (int64_t n = 0; n < grad.shape[0]; ++n)
      for (int64_t d = 0; d < size[0]; ++d)
        for (int64_t h = 0; h < size[1]; ++h) {
          const T* line = static_cast<const T*>(grad.data) + n * s.n + c * s.c + d * s.axis[0] + h * s.axis[1];
          for (int64_t w = 0; w < size[2]; ++w) sum += line[w * s.axis[2]];
        }
    static_cast<T*>(out.data)[c * out.strides[0]] = T(sum);
  });
}

}  // namespace

void conv_grad_bias(const TensorView& grad, const TensorView& out, void* stream) {
  if (grad.ndim < 3 || grad.ndim > 5)
    throw Error(Code::invalid_argument,
                "grad has " + std::to_string(grad.ndim) + " dimensions; allowed are 3 to 5: batch, channels, spatial");
  conv::check_shape("out", out, grad.dtype, {&grad.shape[1], 1});
  conv::check_device("out", out, grad.device);
  conv::check_apart(out, "grad", grad);
  if (const DevicePlugin* plugin = plugin_of(grad.device)) {
    if (out.size() > 0) conv::device_grad_bias(*plugin, grad, out, stream);
    return;
  }
  if (grad.dtype == DType::float32)
    sum_channels<float>(grad, out);
  else
    sum_channels<double>(grad, out);
}

}  // namespace omniconv
