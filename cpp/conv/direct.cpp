// conv/direct.cpp -- direct convolution: the tiles read the input where it is, through one pointer per tap and pixel
//
// Channels must be contiguous (NHWC). A tap that falls on the border points at the pixel the border mode names, or
// at zeros, so no padding mode, stride or dilation costs a copy.
#include <algorithm>

#include "conv/forward.hpp"

namespace omniconv::conv {
namespace {

class DirectSource {
 public:
  explicit DirectSource(const Run& run) : p_(run.problem), memory_(run.memory) {}

  static size_t block_bytes(const Problem& p, const Partition& part) {
    return align64(p.ci * sizeof(float)) + part.max_pixels() * p.taps() * sizeof(float*);
  }

  // Pointers as [tap][pixel], taps in the order of the packed weights: kw, kd, kh.
  Windows lay_out(const BlockRange& block, char* at) const {
    auto* zeros = reinterpret_cast<float*>(at);
    auto** rows = reinterpret_cast<const float**>(at + align64(p_.ci * sizeof(float)));
    std::fill_n(zeros, p_.ci, 0.0f);
    const Axis &da = p_.axis[0], &ha = p_.axis[1], &wa = p_.axis[2];
    const float* x = memory_.x + block.group * p_.ci * memory_.xs.c;
    const int64_t pixels = block.pixels();
    const float** at_tap = rows;
    for (int64_t kw = 0; kw < wa.taps; ++kw)
      for (int64_t kd = 0; kd < da.taps; ++kd)
        for (int64_t kh = 0; kh < ha.taps; ++kh, at_tap += pixels)
          for (int64_t r = 0; r < block.rows; ++r) {
            const int64_t row = block.first_row + r, oh = row % ha.out, od = row / ha.out % da.out,
                          n = row / ha.out / da.out;
            const int64_t d = border(od * da.stride + kd * da.dilation - da.lo, da.in, p_.mode);
            const int64_t h = border(oh * ha.stride + kh * ha.dilation - ha.lo, ha.in, p_.mode);
            const float* line =
                d < 0 || h < 0 ? nullptr : x + n * memory_.xs.n + d * memory_.xs.axis[0] + h * memory_.xs.axis[1];
            for (int64_t c = 0; c < block.columns; ++c) {
              const int64_t w = border((block.first_column + c) * wa.stride + kw * wa.dilation - wa.lo, wa.in, p_.mode);
              at_tap[r * block.columns + c] = line && w >= 0 ? line + w * memory_.xs.axis[2] : zeros;
            }
          }
    return {rows, pixels, 0, p_.ci};
  }

 private:
  const Problem& p_;
  const Operands& memory_;
};

constexpr size_t kBudget = size_t{1} << 18;  // pointers of a block: an eighth of L2

Partition partition_of(const Problem& p, Target t) {
  return partition(p, Panels(p.co, t.kernels), t.threads, kBudget,
                   [&](int64_t columns) { return columns * p.taps() * sizeof(float*); });
}

std::string decline(const Problem& p, Layout layout) {
  if (!layout.channels_contiguous && p.ci * p.groups > 1) return "the channels of x are not contiguous (NHWC)";
  if (double(p.taps()) * sizeof(float*) > 4 * kBudget)
    return "a window of " + std::to_string(p.taps()) + " taps needs too many pointers";
  return "";
}

size_t workspace(const Problem& p, Target t) {
  return t.threads * worker_bytes<DirectSource>(p, t.kernels, partition_of(p, t));
}

double cost(const Problem& p, Layout, Target t) {
  // The products of im2win without its copies, but a segment of ci elements starts with a reload of the tile's
  // pointers, about 16 cycles beside 14 per element. Taken as equal from 16 channels on: then it wins by its
  // place in the list.
  return kIm2win.cost(p, {}, t) * (p.ci >= 16 ? 1.0 : 1.01);
}

void run(const Run& r) { run_blocks(r, DirectSource(r), partition_of(r.problem, r.target), r.workspace); }

}  // namespace

const Algorithm kDirect = {"direct", "the input is read in place", decline, workspace, cost, run};

}  // namespace omniconv::conv
