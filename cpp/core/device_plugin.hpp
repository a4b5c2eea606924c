// core/device_plugin.hpp -- what a device plugin offers: all that it and the library know of each other
//
// A plugin is a shared library that exports omniconv_device_plugin(). Both sides are built from one source tree; the
// version and the size are there so that a plugin left over from another build is refused instead of called.
// Functions that can fail return 0, or another number (kDeviceMemory where memory ran out) and say why in the message;
// no exception crosses.
#pragma once

#include <cstddef>
#include <cstdint>

namespace omniconv {

namespace conv {
struct DeviceConv;  // conv/device_conv.hpp
}
namespace bessel {
struct DeviceBessel;  // bessel/device_bessel.hpp
}

inline constexpr uint32_t kDevicePluginVersion = 2;
inline constexpr int kDeviceError = 1, kDeviceMemory = 2;

struct DeviceMessage {
  char text[512] = "";
};

struct DevicePlugin {
  uint32_t version;  // kDevicePluginVersion
  uint32_t size;     // sizeof(DevicePlugin)
  const char* name;  // "cuda" or "emu"

  // How many devices there are. Where there are none, or they cannot be used, the message says why.
  int (*count)(DeviceMessage* message);
  // A line for people: model, capability, memory.
  int (*describe)(int device, DeviceMessage* message);
  // Memory of a device, in the order of the stream: usable by what is put into the stream later, reusable by what is
  // put there after the release. A stream is a cudaStream_t; null is the legacy default stream.
  int (*allocate)(int device, void* stream, size_t bytes, void** memory, DeviceMessage* message);
  int (*release)(int device, void* stream, void* memory, DeviceMessage* message);
  // Comes back when all streams of the device have done what was put into them. For making and ending plans, never a
  // run.
  int (*settle)(int device, DeviceMessage* message);

  const conv::DeviceConv* conv;
  const bessel::DeviceBessel* bessel;
};

}  // namespace omniconv

extern "C" {
// The one symbol of a plugin.
const omniconv::DevicePlugin* omniconv_device_plugin();
}
