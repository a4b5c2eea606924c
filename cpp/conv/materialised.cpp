// conv/materialised.cpp -- the two transforms that write out the whole input first: im2win_full and im2col
//
// Both are here for comparison: im2win_full is the transform of the Im2win papers, im2col the explicit GEMM of Caffe.
#include "conv/forward.hpp"
#include "conv/im2win_rows.hpp"

namespace omniconv::conv {
namespace {

// Windows found in a matrix that is already there: window (row, column) starts at row * row_floats + column * step.
class MatrixSource {
 public:
  MatrixSource(const Problem& p, const float* matrix, int64_t group_floats, int64_t row_floats, int64_t step,
               Windows shape)
      : p_(p), matrix_(matrix), group_floats_(group_floats), row_floats_(row_floats), step_(step), shape_(shape) {}

  static size_t block_bytes(const Problem&, const Partition& part) { return part.max_pixels() * sizeof(float*); }

  Windows lay_out(const BlockRange& block, char* at) const {
    auto** rows = reinterpret_cast<const float**>(at);
    for (int64_t i = 0; i < block.pixels(); ++i) {
      const int64_t r = block.first_row + i / block.columns, c = block.first_column + i % block.columns;
      rows[i] = matrix_ + block.group * group_floats_ + r * row_floats_ + c * step_;
    }
    Windows w = shape_;
    w.rows = rows;
    return w;
  }

 private:
  const Problem& p_;
  const float* matrix_;
  int64_t group_floats_, row_floats_, step_;
  Windows shape_;
};

Partition partition_of(const Problem& p, Target t) {
  return partition(p, Panels(p.co, t.kernels), t.threads, size_t{1} << 30,
                   [](int64_t columns) { return size_t(columns); });
}

size_t nest_bytes(const Problem& p, Target t) {
  return t.threads * worker_bytes<MatrixSource>(p, t.kernels, partition_of(p, t));
}

std::string decline_size(double bytes) {
  constexpr double kMost = double(int64_t{1} << 40);
  return bytes <= kMost ? "" : "the transformed input takes " + std::to_string(bytes) + " bytes, more than 2^40";
}

// ---- im2win_full: [groups][n, d, h][column][kd][kh][ci] of the whole batch ------------------------------------------

size_t im2win_floats(const Problem& p) { return size_t(p.groups) * p.rows() * WindowRows(p).row_floats(p.axis[2].out); }

size_t im2win_scratch(const Problem& p) { return align64(WindowRows(p).copy_bytes(1)); }

std::string im2win_decline(const Problem& p, Layout) {
  const WindowRows layout(p);
  return decline_size(double(p.groups) * p.rows() * layout.columns(p.axis[2].out) * layout.column_stride *
                      sizeof(float));
}

size_t im2win_workspace(const Problem& p, Target t) {
  return align64(im2win_floats(p) * sizeof(float)) + t.threads * im2win_scratch(p) + nest_bytes(p, t);
}

double im2win_cost(const Problem& p, Layout, Target t) {
  // Written to and read from DRAM, about 2 bytes a cycle and core.
  return multiply_cycles(p, t) + finish_cycles(p, t) + double(im2win_floats(p)) * 2 * sizeof(float) / 2 / t.threads;
}

void im2win_run(const Run& run) {
  const Problem& p = run.problem;
  const Kernels& k = run.target.kernels;
  const WindowRows layout(p);
  const int64_t floats = layout.row_floats(p.axis[2].out);
  auto* matrix = reinterpret_cast<float*>(run.workspace);
  char* scratch = run.workspace + align64(im2win_floats(p) * sizeof(float));
  char* rest = scratch + run.target.threads * im2win_scratch(p);
  parallel_for(p.groups * p.rows(), run.target.threads, [&](int64_t task, int worker) {
    auto* copies = reinterpret_cast<WindowRows::Copy<float>*>(scratch + worker * im2win_scratch(p));
    layout.lay_out<float>({k.pack, matrix + task * floats, copies}, run.memory, task / p.rows(), task % p.rows(), 1, 0,
                          p.axis[2].out);
  });
  const MatrixSource source(p, matrix, p.rows() * floats, floats, layout.step * layout.column_stride,
                            layout.windows(nullptr));
  run_blocks(run, source, partition_of(p, run.target), rest);
}

// ---- im2col: [group][pixel][kw, kd, kh, ci], one image at a time ---------------------------------------------------

Problem one_image(const Problem& p) {
  Problem image = p;
  image.batch = 1;
  return image;
}

size_t im2col_floats(const Problem& p) { return size_t(p.groups) * p.plane() * p.k(); }

std::string im2col_decline(const Problem& p, Layout) {
  return decline_size(double(p.groups) * p.plane() * p.k() * sizeof(float));
}

size_t im2col_workspace(const Problem& p, Target t) {
  return align64(im2col_floats(p) * sizeof(float)) + nest_bytes(one_image(p), t);
}

double im2col_cost(const Problem& p, Layout, Target t) {
  return multiply_cycles(p, t) + finish_cycles(p, t) +
         double(im2col_floats(p)) * p.batch * 2 * sizeof(float) / 2 / t.threads;
}

// One row of pixels of one image.
void fill_im2col(const Kernels& kernels, const Problem& p, const Operands& m, int64_t group, int64_t row, float* out) {
  const Axis &da = p.axis[0], &ha = p.axis[1], &wa = p.axis[2];
  const int64_t oh = row % ha.out, od = row / ha.out, k = p.k();
  const float* x = m.x + group * p.ci * m.xs.c;
  for (int64_t kw = 0; kw < wa.taps; ++kw)
    for (int64_t kd = 0; kd < da.taps; ++kd)
      for (int64_t kh = 0; kh < ha.taps; ++kh, out += p.ci) {
        const int64_t d = border(od * da.stride + kd * da.dilation - da.lo, da.in, p.mode);
        const int64_t h = border(oh * ha.stride + kh * ha.dilation - ha.lo, ha.in, p.mode);
        for (int64_t o = 0; o < wa.out; ++o) {
          const int64_t at = o * wa.stride + kw * wa.dilation - wa.lo;
          const int64_t w = d < 0 || h < 0 ? -1 : border(at, wa.in, p.mode);
          float* dst = out + o * k;
          if (w < 0) {
            std::fill_n(dst, p.ci, 0.0f);
            continue;
          }
          int64_t count = 1;  // pixels inside the input lie at a constant distance
          if (at == w) count = std::min(wa.out - o, (wa.in - 1 - at) / wa.stride + 1);
          kernels.pack({x + d * m.xs.axis[0] + h * m.xs.axis[1] + w * m.xs.axis[2], m.xs.c, wa.stride * m.xs.axis[2],
                        p.ci, count, &dst, 1, k});
          o += count - 1;
        }
      }
}

void im2col_run(const Run& run) {
  const Problem image = one_image(run.problem);
  const Kernels& k = run.target.kernels;
  const int64_t rows = image.rows(), floats = image.axis[2].out * image.k();
  auto* matrix = reinterpret_cast<float*>(run.workspace);
  char* rest = run.workspace + align64(im2col_floats(image) * sizeof(float));
  const MatrixSource source(image, matrix, rows * floats, floats, image.k(), {nullptr, 0, 0, image.k()});
  Operands m = run.memory;
  for (int64_t n = 0; n < run.problem.batch; ++n) {
    m.x = run.memory.x + n * m.xs.n;
    m.y = run.memory.y + n * m.ys.n;
    m.residual = run.memory.residual ? run.memory.residual + n * m.rs.n : nullptr;
    parallel_for(image.groups * rows, run.target.threads, [&](int64_t task, int) {
      fill_im2col(k, image, m, task / rows, task % rows, matrix + task * floats);
    });
    run_blocks({image, m, run.packed, run.workspace, run.target}, source, partition_of(image, run.target), rest);
  }
}

}  // namespace

const Algorithm kIm2winFull = {"im2win_full",  "the papers' transform of the whole input",
                               im2win_decline, im2win_workspace,
                               im2win_cost,    im2win_run};
const Algorithm kIm2col = {
    "im2col", "explicit GEMM, one image at a time", im2col_decline, im2col_workspace, im2col_cost, im2col_run};

}  // namespace omniconv::conv
