// conv/tuning.hpp -- times measured on this machine, which "auto" prefers to the predicted ones
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "omniconv/conv.hpp"

namespace omniconv::conv {

using Times = std::map<std::pair<std::string, bool>, double>;  // seconds of one image, by algorithm and channels_last

// What the times of a problem are kept under: all that the choice of an algorithm may depend on, and the instruction
// set. Batch, layout and threads are left out, as bits depend on none of them; there are times for both layouts.
std::string tuning_key(const ConvDesc& desc);

// Null where nothing was measured.
std::shared_ptr<const Times> measured_times(const ConvDesc& desc);

}  // namespace omniconv::conv
