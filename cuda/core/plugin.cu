// core/plugin.cu -- the table that the library asks a plugin for
#include "bessel/tables.cuh"
#include "conv/tables.cuh"

namespace omniconv::cuda {
namespace {

const DevicePlugin kPlugin = {
    kDevicePluginVersion,
    sizeof(DevicePlugin),
    prim::kDeviceName,
    prim::device_count,
    [](int device, DeviceMessage* message) {
      return prim::guarded(message, [&] { prim::describe_device(device, message); });
    },
    [](int device, void* stream, size_t bytes, void** memory, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On scope(device);
        *memory = prim::allocate(stream, bytes);
      });
    },
    [](int device, void* stream, void* memory, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On scope(device);
        prim::release(stream, memory);
      });
    },
    [](int device, DeviceMessage* message) {
      return prim::guarded(message, [&] {
        const prim::On scope(device);
        prim::settle();
      });
    },
    &kConv,
    &kBessel,
};

}  // namespace
}  // namespace omniconv::cuda

extern "C" __attribute__((visibility("default"))) const omniconv::DevicePlugin* omniconv_device_plugin() {
  return &omniconv::cuda::kPlugin;
}
