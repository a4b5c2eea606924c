// conv/planar_grad_weight.cpp -- gradient of the weights on planes: every tap is a sum over shifted rows; for depthwise
//
// Windows times gradient (im2win) would fill one lane of a panel where a group has one output channel. Here lanes are
// pixels, as in planar: a strip of input rows (border written out, columns picked apart by phase) meets the rows of
// the gradient, and a tile of up to 12 taps sums in registers. Sums of at most kChain vectors are chains in float32,
// all beyond is added in float64. Images are cut into slots by the problem alone and added in order: the same bits for
// any number of threads.
#include <algorithm>

#include "conv/planar_nest.hpp"
#include "core/thread_pool.hpp"

namespace omniconv::conv {
namespace {

constexpr int64_t kChain = 512;  // vectors of a lane's chain, as kSumBlock
constexpr int64_t kTasks = 64;   // enough to keep 16 cores busy

PlanarStrip strip_of(const Problem& p, const Kernels& k) {
  return PlanarStrip(p, k).cut(kChain / ceil_div(std::max<int64_t>(p.axis[2].out, 1), k.lanes));
}

int64_t slots_of(const Problem& p) {
  return std::clamp<int64_t>(ceil_div(kTasks, p.groups), 1, std::max<int64_t>(p.batch, 1));
}
size_t partial_bytes(const Problem& p) { return align64(slots_of(p) * p.groups * p.co * p.k() * sizeof(double)); }

struct Worker {
  float *strip, *grad;
  size_t bytes;
  Worker(const PlanarStrip& s, char* at) {
    char* const base = at;
    take(at, strip, s.floats());
    take(at, grad, s.block * s.p.axis[2].out);
    bytes = size_t(at - base);
  }
};

class Nest {
 public:
  explicit Nest(const WeightGradientRun& run)
      : run_(run),
        p_(run.problem),
        m_(run.memory),
        k_(run.target.kernels),
        strip_(strip_of(p_, k_)),
        slots_(slots_of(p_)),
        bytes_(Worker(strip_, nullptr).bytes) {}

  int64_t tasks() const { return slots_ * p_.groups; }

  // Sums [co][ci][kd][kh][kw] of one group over the images of a slot.
  void task(int64_t task, int worker) const {
    const int64_t g = task % p_.groups, slot = task / p_.groups;
    double* sums = partial(slot, g);
    std::fill_n(sums, p_.co * p_.k(), 0.0);
    const Worker w(strip_, run_.workspace + partial_bytes(p_) + worker * bytes_);
    for (int64_t n = p_.batch * slot / slots_; n < p_.batch * (slot + 1) / slots_; ++n)
      for (int64_t od = 0; od < p_.axis[0].out; ++od)
        for (int64_t first = 0; first < p_.axis[1].out; first += strip_.block)
          block({n, g, od, first, std::min(strip_.block, p_.axis[1].out - first)}, w, sums);
  }

  // dw of one (group, co): the slots in order.
  void add_slots(int64_t task) const {
    const int64_t g = task / p_.co, co = task % p_.co, terms = p_.k();
    const WeightView& v = run_.view;
    float* to = run_.dw + v.offset + g * v.group + co * v.co;
    int64_t at = co * terms;
    for (int64_t ci = 0; ci < p_.ci; ++ci)
      for (int64_t kd = 0; kd < p_.axis[0].taps; ++kd)
        for (int64_t kh = 0; kh < p_.axis[1].taps; ++kh)
          for (int64_t kw = 0; kw < p_.axis[2].taps; ++kw, ++at) {
            double sum = 0;
            for (int64_t s = 0; s < slots_; ++s) sum += partial(s, g)[at];
            to[ci * v.ci + kd * v.tap[0] + kh * v.tap[1] + kw * v.tap[2]] = float(sum);
          }
  }

 private:
  double* partial(int64_t slot, int64_t group) const {
    return reinterpret_cast<double*>(run_.workspace) + (slot * p_.groups + group) * p_.co * p_.k();
  }

  void block(const PlanarNest::Place& b, const Worker& w, double* sums) const {
    strip_.fill(k_, m_, m_.x + b.n * m_.xs.n + b.group * p_.ci * m_.xs.c, b.od, b.first, b.outputs, w.strip);
    const int64_t plane = strip_.rows(b.outputs) * strip_.line, taps = p_.axis[1].taps * p_.axis[2].taps;
    for (int64_t co = 0; co < p_.co; ++co) {
      const float* g =
          m_.y + b.n * m_.ys.n + (b.group * p_.co + co) * m_.ys.c + b.od * m_.ys.axis[0] + b.first * m_.ys.axis[1];
      int64_t g_row = m_.ys.axis[1];
      if (m_.ys.axis[2] != 1) g = dense(g, b.outputs, w.grad, &g_row);
      for (int64_t i = 0; i < p_.ci * p_.axis[0].taps; ++i, sums += taps)
        kernel_plane(g, g_row, b.outputs, w.strip + i * plane, sums);
    }
  }

  const float* dense(const float* g, int64_t rows, float* to, int64_t* row) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < p_.axis[2].out; ++c)
        to[r * p_.axis[2].out + c] = g[r * m_.ys.axis[1] + c * m_.ys.axis[2]];
    *row = p_.axis[2].out;
    return to;
  }

  // Taps [kh][kw] of one input channel: phase by phase, as the columns of a phase lie side by side.
  void kernel_plane(const float* g, int64_t g_row, int64_t rows, const float* strip, double* sums) const {
    const Axis &h = p_.axis[1], &w = p_.axis[2];
    double tile[kMaxPlanarTaps];
    for (int64_t phase = 0; phase < std::min(w.stride, w.taps); ++phase) {
      const Cuts across(ceil_div(w.taps - phase, w.stride), kMaxPlanarTaps);
      for (int64_t i = 0, kw = 0; i < across.count; kw += across.size(i++)) {
        const int64_t width = across.size(i);
        const Cuts down(h.taps, kMaxPlanarTaps / width);
        for (int64_t j = 0, kh = 0; j < down.count; kh += down.size(j++)) {
          const int64_t height = down.size(j), step = h.dilation * strip_.line;
          std::fill_n(tile, height * width, 0.0);
          k_.planar.outer[height][width]({g, strip + kh * step + phase * strip_.phase + kw, g_row,
                                          h.stride * strip_.line, step, rows, w.out, tile});
          for (int64_t a = 0; a < height; ++a)
            for (int64_t c = 0; c < width; ++c)
              sums[(kh + a) * w.taps + (kw + c) * w.stride + phase] += tile[a * width + c];
        }
      }
    }
  }

  const WeightGradientRun& run_;
  const Problem& p_;
  const Operands& m_;
  const Kernels& k_;
  PlanarStrip strip_;
  int64_t slots_;
  size_t bytes_;
};

std::string decline(const Problem& p) {
  if (p.axis[2].dilation > 1) return "the kernel is dilated along the width";
  return decline_strip(p, 1);
}

size_t workspace(const Problem& p, Target t) {
  return partial_bytes(p) + t.threads * Worker(strip_of(p, t.kernels), nullptr).bytes;
}

// Cycles: a vector of a tap takes half a cycle at least and, as the loads of two lines show, 0.65; a tile of a row 10.
double cost(const Problem& p, Target t) {
  const Kernels& k = t.kernels;
  const PlanarStrip strip = strip_of(p, k);
  const double rows = double(p.rows()) * double(p.groups);
  const double vectors = double(ceil_div(p.axis[2].out, k.lanes));
  const double tiles = double(p.k()) / kMaxPlanarTaps + double(p.ci * p.axis[0].taps);
  const double sums = rows * double(p.co) * (vectors * double(p.k()) * 2.6 * k.lanes / k.peak + 10 * tiles);
  const double strips = rows / double(strip.block) * double(strip.floats());
  return (sums + strips) / t.threads;
}

void run(const WeightGradientRun& r) {
  const Nest nest(r);
  parallel_for(nest.tasks(), r.target.threads, [&](int64_t task, int worker) { nest.task(task, worker); });
  parallel_for(r.problem.groups * r.problem.co, r.target.threads, [&](int64_t task, int) { nest.add_slots(task); });
}

}  // namespace

const WeightGradient kPlanarGradWeight = {decline, workspace, cost, run};

}  // namespace omniconv::conv
