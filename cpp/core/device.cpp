// core/device.cpp -- finding and opening device plugins
#include "core/device.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <mutex>

#include "omniconv/context.hpp"

namespace omniconv {
namespace {

#if defined(__APPLE__)
constexpr const char* kSuffix = ".dylib";
#else
constexpr const char* kSuffix = ".so";
#endif

// A plugin is tried once; what was found, good or bad, stands for the life of the process.
struct Opened {
  const DevicePlugin* plugin = nullptr;
  std::string path, why;
  int devices = 0;
};

std::string folder_of_this_library() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<const void*>(&folder_of_this_library), &info) || !info.dli_fname) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

Opened open(const std::string& name) {
  Opened o;
  const char* folder = std::getenv("OMNICONV_PLUGIN_PATH");
  o.path = (folder && *folder ? std::string(folder) + "/" : folder_of_this_library()) + "libomniconv_" + name + kSuffix;
  void* library = dlopen(o.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* error = dlerror();
    o.why = "the plugin " + o.path + " cannot be opened: " + (error ? error : "no reason given");
    return o;
  }
  using Entry = const DevicePlugin* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(library, "omniconv_device_plugin"));
  const DevicePlugin* plugin = entry ? entry() : nullptr;
  if (!plugin || plugin->version != kDevicePluginVersion || plugin->size != sizeof(DevicePlugin)) {
    o.why = "the plugin " + o.path + " was built for another version of this library";
    return o;
  }
  DeviceMessage message;
  o.devices = plugin->count(&message);
  if (o.devices > 0)
    o.plugin = plugin;
  else
    o.why = message.text;
  return o;
}

const Opened& cuda() {
  static const Opened opened = open("cuda");
  return opened;
}

const Opened& emulator() {
  static const Opened opened = open("emu");
  return opened;
}

// Whether arrays on the CPU go to the emulator. Read once: plans and their caches rely on it.
bool emulated() {
  static const bool wish = [] {
    const char* text = std::getenv("OMNICONV_DEVICE");
    const std::string device = text ? text : "";
    if (device.empty() || device == "cpu") return false;
    if (device == "emu") return true;
    throw Error(Code::invalid_argument,
                "environment variable OMNICONV_DEVICE: found '" + device + "', allowed are 'cpu' and 'emu'");
  }();
  return wish;
}

}  // namespace

std::string name(Device device) {
  if (device.type == kDLCPU) return "the CPU";
  if (device.type == kDLCUDA) return "cuda:" + std::to_string(device.id);
  return "device type " + std::to_string(int(device.type));
}

const DevicePlugin* plugin_of(Device device) {
  if (device.type == kDLCPU && !emulated()) return nullptr;
  const Opened& o = device.type == kDLCPU ? emulator() : cuda();
  if (!o.plugin) throw Error(Code::not_supported, "arrays on " + name(device) + " cannot be computed on: " + o.why);
  if (device.id >= o.devices)
    throw Error(Code::invalid_argument,
                "device is " + name(device) + "; this machine has " + std::to_string(o.devices) + " of them");
  return o.plugin;
}

void check(int result, const DeviceMessage& message) {
  if (result != 0) throw Error(result == kDeviceMemory ? Code::out_of_memory : Code::internal, message.text);
}

CudaReport cuda_report() {
  CudaReport report;
  const Opened& o = cuda();
  report.plugin = o.path;
  report.reason = o.why;
  for (int i = 0; i < o.devices; ++i) {
    DeviceMessage message;
    o.plugin->describe(i, &message);
    report.devices.emplace_back(message.text);
  }
  return report;
}

std::string array_device() { return emulated() ? "emu" : "cpu"; }

}  // namespace omniconv
