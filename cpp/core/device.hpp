// core/device.hpp -- finding and opening device plugins
#pragma once

#include <string>

#include "core/device_plugin.hpp"
#include "omniconv/tensor.hpp"

namespace omniconv {

// The plugin that computes on arrays of a device; null: the kernels of this library. Arrays on the CPU go to the
// emulator where OMNICONV_DEVICE=emu. Throws Error(not_supported) saying what is missing.
const DevicePlugin* plugin_of(Device device);

// Throws Error(internal or out_of_memory) with what the plugin said where `result` is not 0.
void check(int result, const DeviceMessage& message);

}  // namespace omniconv
