// bessel/float64.cu -- the Bessel functions of float64 arrays
#include "bessel/evaluate.cuh"
#include "bessel/tables.cuh"

namespace omniconv::cuda {

void evaluate_float64(const DeviceBesselCall& call) { evaluate_all<double>(call); }

}  // namespace omniconv::cuda
