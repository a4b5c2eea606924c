// sparse/spikes.cpp -- spike counts by int8 weights over a kernel map, tile by tile, the neuron in the same pass
//
// As in convolve.cpp a task is a tile of 512 outputs times 64 columns, whose sums of int32 stay in cache from the first
// tap to the neuron; and one time step, so that all steps share the map and the packed weights.
#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "core/thread_pool.hpp"
#include "omniconv/context.hpp"
#include "reference/sparse.hpp"
#include "sparse/spike_events.hpp"

namespace omniconv {
namespace sparse {

const SpikeKernels& spike_kernels() {
  switch (current_isa()) {
#ifdef OMNICONV_WITH_AVX512VNNI
    case Isa::amx:
    case Isa::avx512vnni: return avx512vnni::spike_kernels();
#endif
#ifdef OMNICONV_WITH_AVX512
    case Isa::avx512: return avx512::spike_kernels();
#endif
#ifdef OMNICONV_WITH_AVX2
    case Isa::avx2: return avx2::spike_kernels();
#endif
#ifdef OMNICONV_WITH_NEON
    case Isa::neon: return neon::spike_kernels();
#endif
    default: return scalar::spike_kernels();
  }
}

namespace {

constexpr int64_t kColumns = 64;
constexpr int64_t kMostNarrow = 128;  // counts; a chain of n steps of them is exact up to kMostNarrow / n

int64_t rounded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// Columns of a panel: eight vectors at most, and no more than a task has.
int64_t panel_columns(int lanes) { return std::min<int64_t>(kColumns, 8 * lanes); }

// Weights of one group in both forms, for one length of vectors; zeros fill what channels and columns lack.
struct Packed {
  int64_t steps;         // of four channels
  int64_t tile_columns;  // a multiple of the lanes
  AlignedBuffer tiles;   // [panel][tap][step][vectors][lanes][4]
  AlignedBuffer events;  // [block of 64 columns][tap][channel][group][4 lanes]
};

}  // namespace
}  // namespace sparse

struct SpikeWeight::State {
  int64_t outs, ins, taps, groups;  // channels of a group
  std::vector<int8_t> values;       // [groups][outs][ins][taps]
  mutable std::mutex mutex;
  mutable std::map<int, std::vector<sparse::Packed>> forms;  // by lanes

  int8_t at(int64_t group, int64_t o, int64_t k, int64_t tap) const {
    return o < outs && k < ins ? values[size_t(((group * outs + o) * ins + k) * taps + tap)] : int8_t{0};
  }
  const std::vector<sparse::Packed>& form(int lanes) const;
};

namespace sparse {
namespace {

void pack_tiles(const SpikeWeight::State& w, int64_t group, int lanes, Packed& p) {
  p.steps = rounded(w.ins, 4) / 4;
  p.tile_columns = rounded(w.outs, lanes);
  p.tiles = AlignedBuffer(size_t(p.tile_columns * p.steps * 4 * w.taps));
  int8_t* to = static_cast<int8_t*>(p.tiles.data());
  const int64_t width = panel_columns(lanes);
  for (int64_t panel = 0; panel < p.tile_columns; panel += width)
    for (int64_t tap = 0; tap < w.taps; ++tap)
      for (int64_t k = 0; k < 4 * p.steps; k += 4)
        for (int64_t j = panel; j < std::min(p.tile_columns, panel + width); ++j)
          for (int64_t i = 0; i < 4; ++i) *to++ = w.at(group, j, k + i, tap);
}

void pack_events(const SpikeWeight::State& w, int64_t group, int lanes, Packed& p) {
  const int64_t unit = 4 * lanes, columns = rounded(w.outs, unit);
  p.events = AlignedBuffer(size_t(columns * w.ins * w.taps));
  int8_t* to = static_cast<int8_t*>(p.events.data());
  for (int64_t block = 0; block < columns; block += kColumns)
    for (int64_t tap = 0; tap < w.taps; ++tap)
      for (int64_t k = 0; k < w.ins; ++k)
        for (int64_t first = block; first < std::min(columns, block + kColumns); first += unit, to += unit)
          for (int64_t j = 0; j < unit; ++j) to[event_place(j, lanes)] = w.at(group, first + j, k, tap);
}

struct Work {
  const SparseMap& map;
  const SpikeKernels& kernel;
  const SpikeWeight::State& weight;
  const Packed& packed;
  const SpikeResult& result;
  int64_t group;
  const uint8_t* x;  // of the group and the step
  int64_t x_step, chain;
  bool narrow;
  const EventLists* events;  // of the step; null for the dense algorithm
  int64_t step;
};

SpikeSums sums_of(const SparseMap::Tile& tile, int64_t tap, int32_t* sums, int64_t width) {
  const int32_t begin = tile.begin[size_t(tap)];
  return {reinterpret_cast<const SparsePair*>(tile.pairs.data()) + begin, tile.begin[size_t(tap) + 1] - begin, sums,
          width, 0};
}

void multiply_tap(const Work& w, int64_t tap, int64_t first, SpikeSums to) {
  const int lanes = w.kernel.lanes;
  const int8_t* packed = static_cast<const int8_t*>(w.packed.tiles.data());
  for (; to.shift < to.width; to.shift += panel_columns(lanes)) {
    const int64_t vectors = std::min(panel_columns(lanes), to.width - to.shift) / lanes;
    const int8_t* b = packed + ((first + to.shift) * w.weight.taps + tap * vectors * lanes) * 4 * w.packed.steps;
    (w.narrow ? w.kernel.narrow : w.kernel.wide)[vectors]({to, w.x, w.x_step, b, w.packed.steps, w.chain});
  }
}

void add_tap(const Work& w, int64_t tap, int64_t first, SpikeSums to) {
  const int8_t* packed = static_cast<const int8_t*>(w.packed.events.data()) + first * w.weight.taps * w.weight.ins;
  const auto run = w.kernel.events[to.width / (4 * w.kernel.lanes)];
  run({to, w.events->events(), w.events->begin(), packed + tap * w.weight.ins * to.width, w.chain});
}

void finish_rows(const Work& w, int64_t tile, int64_t sites, int64_t first, int64_t width, const int32_t* sums) {
  const SpikeResult& r = w.result;
  const int64_t columns = std::min(width, w.weight.outs - first), channels = w.weight.outs * w.weight.groups;
  const int64_t channel = w.group * w.weight.outs + first, above = w.step * w.map.out()->rows();
  const auto place = [&](int64_t site) { return (above + w.map.out_row(tile, int32_t(site))) * channels + channel; };
  if (r.sums)
    for (int64_t i = 0; i < sites; ++i)
      std::memcpy(r.sums + place(i), sums + i * width, size_t(columns) * sizeof(int32_t));
  if (!r.membrane && !r.spikes) return;
  SpikeFinishArgs f{};
  f.count = columns, f.levels = float(r.neuron.levels), f.half_even = r.neuron.half_even;
  f.scale = r.scale ? r.scale + channel : nullptr;
  f.bias = r.bias ? r.bias + channel : nullptr;
  for (int64_t i = 0; i < sites; ++i) {
    const int64_t at = place(i);
    f.sums = sums + i * width;
    f.residual = r.residual ? r.residual + at : nullptr;
    f.membrane = r.membrane ? r.membrane + at : nullptr;
    f.spikes = r.spikes ? r.spikes + at : nullptr;
    w.kernel.finish(f);
  }
}

void convolve_step(const Work& w) {
  const int64_t unit = w.events ? 4 * w.kernel.lanes : w.kernel.lanes;
  const int64_t blocks = (w.weight.outs + kColumns - 1) / kColumns;
  parallel_for(int64_t(w.map.tiles().size()) * blocks, [&](int64_t task, int) {
    const int64_t tile = task / blocks, first = task % blocks * kColumns;
    const int64_t width = rounded(std::min(kColumns, w.weight.outs - first), unit);
    const int64_t sites = std::min(SparseMap::kTile, w.map.out()->rows() - tile * SparseMap::kTile);
    const ScopedWorkspace scratch(size_t(sites * width) * sizeof(int32_t));
    int32_t* sums = static_cast<int32_t*>(scratch.data());
    std::memset(sums, 0, size_t(sites * width) * sizeof(int32_t));
    for (int64_t tap = 0; tap < w.map.taps(); ++tap) {
      const SpikeSums to = sums_of(w.map.tiles()[size_t(tile)], tap, sums, width);
      if (to.count > 0) (w.events ? add_tap : multiply_tap)(w, tap, first, to);
    }
    finish_rows(w, tile, sites, first, width, sums);
  });
}

// Steps of four read beyond a row whose channels are no multiple of four: such rows are copied with zeros behind.
const uint8_t* padded(const uint8_t* x, int64_t rows, int64_t channels, int64_t& step, AlignedBuffer& copy) {
  if (channels % 4 == 0) return x;
  const int64_t to_step = rounded(channels, 4);
  copy = AlignedBuffer(size_t(rows * to_step));
  uint8_t* to = static_cast<uint8_t*>(copy.data());
  std::memset(to, 0, size_t(rows * to_step));
  for (int64_t i = 0; i < rows; ++i) std::memcpy(to + i * to_step, x + i * step, size_t(channels));
  step = to_step;
  return to;
}

void check(const SparseMap& map, const SpikeRows& x, const SpikeWeight::State& w, const SpikeResult& r) {
  const auto require = [](bool fine, const char* what, int64_t found, int64_t wanted) {
    if (!fine)
      throw Error(Code::invalid_argument,
                  std::string(what) + " is " + std::to_string(found) + "; expected is " + std::to_string(wanted));
  };
  require(x.rows == map.in()->rows(), "the number of rows of the counts", x.rows, map.in()->rows());
  require(x.channels == w.ins * w.groups, "the number of channels of the counts", x.channels, w.ins * w.groups);
  require(w.taps == map.taps(), "the number of taps of the weight", w.taps, map.taps());
  require(!r.spikes || x.steps == 1, "the number of time steps before a neuron in the same pass", x.steps, 1);
  if (r.spikes && (r.neuron.levels < 1 || r.neuron.levels > 255))
    throw Error(Code::invalid_argument,
                "levels of the neuron is " + std::to_string(r.neuron.levels) + "; allowed is 1 to 255");
}

SpikeAlgorithm chosen(const SpikeRows& x, const SpikeWeight::State& w, SpikeAlgorithm wanted) {
  if (wanted == SpikeAlgorithm::events && x.most > kMostNarrow)
    throw Error(Code::not_supported,
                "algorithm 'events' takes counts to 128, and these go to " + std::to_string(x.most));
  if (wanted != SpikeAlgorithm::automatic) return wanted;
  const double below = x.most > kMostNarrow ? 0.0 : event_threshold(w.ins, w.outs);
  return below > 0 && firing_rate(x) < below ? SpikeAlgorithm::events : SpikeAlgorithm::dense;
}

}  // namespace
}  // namespace sparse

const std::vector<sparse::Packed>& SpikeWeight::State::form(int lanes) const {
  const std::lock_guard lock(mutex);
  auto& found = forms[lanes];
  for (int64_t g = int64_t(found.size()); g < groups; ++g) {
    sparse::Packed p;
    sparse::pack_tiles(*this, g, lanes, p);
    sparse::pack_events(*this, g, lanes, p);
    found.push_back(std::move(p));
  }
  return found;
}

SpikeWeight::SpikeWeight(const int8_t* weight, int64_t out_channels, int64_t in_channels, int64_t taps, int64_t groups)
    : state_(std::make_unique<State>()) {
  if (groups < 1 || out_channels < 1 || in_channels < 1 || taps < 1 || out_channels % groups != 0)
    throw Error(Code::invalid_argument, "groups is " + std::to_string(groups) + ", which does not divide " +
                                            std::to_string(out_channels) +
                                            " output channels, or there are no channels or taps");
  if (in_channels > 65536 || in_channels * taps > 65536)
    throw Error(Code::not_supported, "weight has " + std::to_string(in_channels) + " channels and " +
                                         std::to_string(taps) + " taps; at most 65536 products fit a sum of 32 bits");
  state_->outs = out_channels / groups, state_->ins = in_channels, state_->taps = taps, state_->groups = groups;
  state_->values.assign(weight, weight + out_channels * in_channels * taps);
}

SpikeWeight::~SpikeWeight() = default;
int64_t SpikeWeight::out_channels() const { return state_->outs * state_->groups; }
int64_t SpikeWeight::in_channels() const { return state_->ins * state_->groups; }
int64_t SpikeWeight::taps() const { return state_->taps; }
int64_t SpikeWeight::groups() const { return state_->groups; }

double firing_rate(const SpikeRows& x) {
  constexpr int64_t kRuns = 64, kRun = 64;  // rows far apart each cost a miss of the cache: runs of them do not
  const int64_t rows = x.steps * x.rows, runs = rows > kRuns * kRun ? kRuns : 1, run = runs > 1 ? kRun : rows;
  if (rows * x.channels == 0) return 0.0;
  int64_t fired = 0;
  for (int64_t i = 0; i < runs; ++i)
    fired += sparse::count_events(x.counts + i * (rows / runs) * x.channels, run, x.channels, x.channels);
  return double(fired) / double(runs * run * x.channels);
}

// A row of counts costs the dense kernel a time that grows with its channels; events cost one for each that fires, and
// a mispredicted branch at the end of their list, which is worth more the narrower the layer. `omniconv bench sparse`
// with 16 to 128 channels gave the two numbers, on Zen 3; where events were not measured they are not chosen.
double event_threshold(int64_t in_channels, int64_t out_channels) {
  if (current_isa() != Isa::avx2) return 0.0;
  return std::max(0.0, 0.5 - 1680.0 / double(in_channels * std::min(sparse::kColumns, out_channels)));
}

SpikeAlgorithm spike_convolve(const SparseMap& map, const SpikeRows& x, const SpikeWeight& weight,
                              const SpikeResult& result, SpikeAlgorithm algorithm) {
  using namespace sparse;
  const SpikeWeight::State& w = weight.state();
  check(map, x, w, result);
  algorithm = chosen(x, w, algorithm);
  if (algorithm == SpikeAlgorithm::reference) {
    reference::spike_convolve(map, x, w.values.data(), w.outs * w.groups, w.groups, result);
    return algorithm;
  }
  const SpikeKernels& kernel = spike_kernels();
  const std::vector<Packed>& packed = w.form(kernel.lanes);
  const bool narrow = x.most <= kMostNarrow;
  const int64_t chain = narrow ? std::max<int64_t>(1, kMostNarrow / std::max(1, x.most)) : INT64_MAX / 2;
  for (int64_t step = 0; step < x.steps; ++step)
    for (int64_t g = 0; g < w.groups; ++g) {
      const uint8_t* rows = x.counts + step * x.rows * x.channels + g * w.ins;
      Work work{map, kernel, w, packed[size_t(g)], result, g, rows, x.channels, chain, narrow, nullptr, step};
      if (algorithm == SpikeAlgorithm::events) {
        const EventLists events(rows, x.rows, w.ins, x.channels);
        work.events = &events;
        convolve_step(work);
      } else {
        AlignedBuffer copy;
        work.x = padded(rows, x.rows, w.ins, work.x_step, copy);
        convolve_step(work);
      }
    }
  return algorithm;
}

void fire(const float* membrane, int64_t count, const SpikeNeuron& neuron, uint8_t* spikes) {
  constexpr int64_t kRun = 1 << 15;
  const sparse::SpikeKernels& kernel = sparse::spike_kernels();
  parallel_for((count + kRun - 1) / kRun, [&](int64_t run, int) {
    const int64_t first = run * kRun;
    sparse::SpikeFinishArgs f{};
    f.residual = membrane + first, f.spikes = spikes + first, f.count = std::min(kRun, count - first);
    f.levels = float(neuron.levels), f.half_even = neuron.half_even;
    kernel.finish(f);
  });
}

}  // namespace omniconv
