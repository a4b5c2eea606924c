// conv/device_plan.hpp -- a plan whose kernels are those of a device plugin
#pragma once

#include <span>
#include <string>
#include <vector>

#include "conv/device_conv.hpp"
#include "conv/work.hpp"

namespace omniconv::conv {

class DevicePlan {
 public:
  DevicePlan(const ConvDesc& desc, const Work& work, const DevicePlugin& plugin);
  ~DevicePlan();
  DevicePlan(const DevicePlan&) = delete;
  DevicePlan& operator=(const DevicePlan&) = delete;

  // Every algorithm of the device, the one to take first. As on the CPU, the order depends on neither batch nor layout.
  static std::vector<AlgorithmInfo> survey(const ConvDesc& desc, const Work& work, const DevicePlugin& plugin);

  const char* algorithm() const { return chosen_->name; }
  size_t workspace_bytes() const;
  size_t packed_bytes() const { return kept_ ? packed_bytes_ : 0; }

  void pack(const TensorView& weight, void* stream);
  // `workspace`: null to allocate it in the order of the stream. Operands are checked already.
  void run(const ConvOperands& o, void* workspace) const;
  bool packed() const { return kept_ != nullptr; }

 private:
  void run_phases(DeviceCall call, char* packed, char* workspace) const;
  void pack_into(const TensorView& weight, char* to, void* stream) const;
  size_t padded_bytes() const;

  const ConvDesc& desc_;
  const Work& work_;
  const DevicePlugin& plugin_;
  const DeviceAlgorithm* chosen_;
  std::vector<size_t> packed_at_;  // bytes before the weights of each phase
  size_t packed_bytes_ = 0;
  char* kept_ = nullptr;  // weights of pack()
};

// db of conv_grad_bias on a device.
void device_grad_bias(const DevicePlugin& plugin, const TensorView& grad, const TensorView& out, void* stream);

}  // namespace omniconv::conv
