// bessel/float32.cu -- the Bessel functions of float32 arrays
#include "bessel/evaluate.cuh"
#include "bessel/tables.cuh"

namespace omniconv::cuda {

void evaluate_float32(const DeviceBesselCall& call) { evaluate_all<float>(call); }

}  // namespace omniconv::cuda
