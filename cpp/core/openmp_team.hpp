// core/openmp_team.hpp -- running on PyTorch's threads where PyTorch is loaded
//
// After a parallel region the threads of libgomp spin for milliseconds, waiting for the next one. A second pool in the
// process then shares its processors with them. On two cores, a convolution and PyTorch's by turns (the twelve im2win
// layers, batch 1): 0.85 times PyTorch's speed with a pool of our own, 1.14 on its team. So where PyTorch's libgomp is
// in the process, and set to as many threads as omniconv, parallel_for borrows its team: the threads that would be in
// the way do the work.
#pragma once

namespace omniconv {

// Calls body(context, worker) on `threads` threads of PyTorch's OpenMP team, the caller being worker 0, and returns
// true when all have finished; false, with nothing called, where there is no such team to borrow: PyTorch is not
// loaded, uses another number of threads, is itself inside a parallel region, or the process has been forked since
// (a team does not survive fork).
bool run_on_openmp_team(int threads, void (*body)(void* context, int worker), void* context);

// The forked child must never touch the team of its parent.
void forget_openmp_team();

}  // namespace omniconv
