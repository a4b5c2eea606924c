// bessel/tables.cu -- what the plugin offers of the Bessel functions
#include "bessel/tables.cuh"
#include "prim/device.cuh"

namespace omniconv::cuda {

const bessel::DeviceBessel kBessel = {
    [](const bessel::DeviceBesselCall* call, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On device(call->device);
        return call->float64 ? evaluate_float64(*call) : evaluate_float32(*call);
      });
    },
};

}  // namespace omniconv::cuda
