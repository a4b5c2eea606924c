// bessel/device_bessel.hpp -- the Bessel functions on a device: the table of its plugin
#pragma once

#include "bessel/functions.hpp"
#include "core/device_plugin.hpp"

namespace omniconv::bessel {

inline constexpr int kDeviceAxes = 8;

// out[0][i] (and out[1][i] of a gradient) = f(v[i], x[i]) for all i of a shape. Pointers are the device's, but that to
// the rules; strides count elements, in the order v, x, out[0], out[1].
struct DeviceBesselCall {
  BesselFunction function;
  int device;
  void* stream;
  bool float64;
  const void *v, *x;
  void* out[2];
  int axes;
  int64_t shape[kDeviceAxes];
  int64_t strides[4][kDeviceAxes];
  const Trapezoid* rules;  // trapezoids(), in the memory of the host
};

struct DeviceBessel {
  int (*evaluate)(const DeviceBesselCall*, DeviceMessage*);
};

}  // namespace omniconv::bessel
