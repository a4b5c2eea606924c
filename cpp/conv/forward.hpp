// conv/forward.hpp -- the loop nest that every forward algorithm shares
//
// An algorithm is a Source: something that lays out, for a block of pixels, windows the tiles can read. The nest
// does the rest: tasks to threads, panels, products, epilogue.
#pragma once

#include <algorithm>

#include "conv/algorithm.hpp"
#include "conv/blocks.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {

// Memory of one worker: the state, then the sums of a panel, then what the source asks for.
struct WorkerState {
  int64_t block = -1;  // the block the source has laid out
  Windows windows{};
};

template <class Source>
size_t worker_bytes(const Problem& p, const Kernels& k, const Partition& part) {
  return align64(sizeof(WorkerState)) + align64(size_t(part.max_pixels()) * k.lanes * k.tile_vectors * sizeof(float)) +
         align64(Source::block_bytes(p, part));
}

template <class Source>
void run_blocks(const Run& run, const Source& source, const Partition& part, char* workspace) {
  const Kernels& kernels = run.target.kernels;
  const Problem& p = run.problem;
  const Panels panels(p.co, kernels);
  const size_t each = worker_bytes<Source>(p, kernels, part);
  for (int t = 0; t < run.target.threads; ++t) *reinterpret_cast<WorkerState*>(workspace + t * each) = WorkerState{};
  parallel_for(part.tasks, run.target.threads, [&](int64_t task, int worker) {
    char* at = workspace + worker * each;
    auto& state = *reinterpret_cast<WorkerState*>(at);
    auto* sums = reinterpret_cast<float*>(at += align64(sizeof(WorkerState)));
    at += align64(size_t(part.max_pixels()) * panels.width * sizeof(float));
    const BlockRange block = part.block(p, task);
    if (state.block != block.id) state.windows = source.lay_out(block, at);
    state.block = block.id;
    const int64_t pixel = block.first_row * p.axis[2].out + block.first_column;
    const int64_t first = part.first_panel(task), end = std::min(first + part.panels_per_chunk, panels.count());
    for (int64_t j = first; j < end; ++j) {
      const float* b = run.packed + block.group * panels.size(p.k()) + j * panels.width * p.k();
      const int64_t channel = block.group * p.co + j * panels.width;
      multiply_panel(kernels, state.windows, block.pixels(), p.k(), panels.vectors(j), b, sums,
                     destination_of(p, run.memory, pixel, block.pixels(), channel, panels.used(j)), false,
                     b + panels.lanes_of(j) * p.k());
      finish_block(kernels, p, run.memory, pixel, block.pixels(), channel, panels.used(j), sums, panels.lanes_of(j));
    }
  });
}

}  // namespace omniconv::conv
