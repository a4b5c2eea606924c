// conv/im2win.cpp -- im2win by blocks: a few rows in window order at a time, in memory of the thread
#include "conv/forward.hpp"
#include "conv/im2win_rows.hpp"

namespace omniconv::conv {
namespace {

// A block of windows and the panel of weights it meets share 2 MiB of L2.
constexpr size_t kBudget = size_t{1} << 20;
constexpr size_t kLimit = size_t{7} << 18;  // 1.75 MiB: with sums and pointers a worker stays below 2 MiB

class Im2winSource {
 public:
  explicit Im2winSource(const Run& run) : layout_(run.problem), memory_(run.memory), kernels_(run.target.kernels) {}

  static size_t block_bytes(const Problem& p, const Partition& part) {
    const WindowRows layout(p);
    return align64(part.rows_per_block * layout.row_floats(part.columns_per_block) * sizeof(float)) +
           align64(part.max_pixels() * sizeof(float*)) + layout.copy_bytes(part.rows_per_block);
  }

  Windows lay_out(const BlockRange& block, char* at) const {
    auto** rows = reinterpret_cast<const float**>(at);
    auto* buffer = reinterpret_cast<float*>(at += align64(block.pixels() * sizeof(float*)));
    const int64_t length = layout_.row_floats(block.columns);
    auto* copies = reinterpret_cast<WindowRows::Copy<float>*>(at + align64(block.rows * length * sizeof(float)));
    layout_.lay_out<float>({kernels_.pack, buffer, copies}, memory_, block.group, block.first_row, block.rows,
                           block.first_column, block.columns);
    for (int64_t r = 0; r < block.rows; ++r)
      for (int64_t w = 0; w < block.columns; ++w)
        rows[r * block.columns + w] = buffer + r * length + w * layout_.step * layout_.column_stride;
    return layout_.windows(rows);
  }

 private:
  WindowRows layout_;
  const Operands& memory_;
  const Kernels& kernels_;
};

Partition partition_of(const Problem& p, Target t) {
  const WindowRows layout(p);
  return partition(p, Panels(p.co, t.kernels), t.threads, kBudget,
                   [&](int64_t columns) { return layout.row_floats(columns) * sizeof(float) + layout.copy_bytes(1); });
}

std::string decline(const Problem& p, Layout) {
  const WindowRows layout(p);
  const double bytes = double(layout.column_stride) * p.axis[2].window() * sizeof(float) + double(layout.copy_bytes(1));
  if (bytes <= kLimit) return "";
  return "one window takes " + std::to_string(int64_t(bytes)) + " bytes; a block holds " + std::to_string(kLimit);
}

size_t workspace(const Problem& p, Target t) {
  return t.threads * worker_bytes<Im2winSource>(p, t.kernels, partition_of(p, t));
}

double cost(const Problem& p, Layout, Target t) {
  // Window rows cost half a cycle per element: a quarter for the transpose, a quarter for stores of 16 floats that
  // each bring in a line of L2.
  const WindowRows rows(p);
  const double floats = double(p.rows()) * p.groups * rows.row_floats(p.axis[2].out);
  return multiply_cycles(p, t) + finish_cycles(p, t) + floats * 0.5 / t.threads;
}

void run(const Run& r) { run_blocks(r, Im2winSource(r), partition_of(r.problem, r.target), r.workspace); }

}  // namespace

const Algorithm kIm2win = {
    .name = "im2win",
    .summary = "windows laid out block by block in memory of the thread",
    .decline = decline,
    .workspace = workspace,
    .cost = cost,
    .run = run,
    .grad_weight = &kIm2winGradWeight,
};

}  // namespace omniconv::conv
