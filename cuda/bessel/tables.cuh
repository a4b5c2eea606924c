// bessel/tables.cuh -- what the plugin offers of the Bessel functions
#pragma once

#include "bessel/device_bessel.hpp"

namespace omniconv::cuda {

void evaluate_float32(const bessel::DeviceBesselCall& call);
void evaluate_float64(const bessel::DeviceBesselCall& call);

extern const bessel::DeviceBessel kBessel;

}  // namespace omniconv::cuda
