// sparse/masked.cpp -- convolution of images of which some cells are hidden: the way it is done, weights packed once
//
// Blocks of cells, a way of its own for one channel per group, and for the rest the dense convolution between masks.
#include "omniconv/masked.hpp"

#include <string>

#include "conv/blocks.hpp"
#include "core/thread_pool.hpp"
#include "sparse/masked.hpp"

namespace omniconv {
namespace sparse {

conv::FinishArgs finish_of(const ConvDesc& desc, const ConvOperands& o, AlignedBuffer (&room)[2]) {
  conv::FinishArgs f{};
  f.channels = o.out.shape[1];
  const TensorView* views[] = {&o.bias, &o.scale};
  const float** to[] = {&f.bias, &f.scale};
  for (int i = 0; i < 2; ++i) {
    room[i] = AlignedBuffer(size_t(f.channels) * sizeof(float));
    *to[i] = conv::dense_vector(*views[i], static_cast<float*>(room[i].data()));
  }
  f.activation = desc.activation, f.negative_slope = float(desc.negative_slope);
  return f;
}

namespace {

using conv::Problem;

// ---- the dense way -----------------------------------------------------------------------------------------------

// A copy in which hidden cells are zero, in the order of memory of `v` where its channels are innermost.
template <class T>
TensorView masked_copy(const TensorView& v, const CellMask& mask, AlignedBuffer& room) {
  room = AlignedBuffer(size_t(v.size()) * sizeof(T));
  const bool last = v.strides[1] == 1;
  const int order[] = {0, 3, 1, 2};
  TensorView copy(room.data(), v.dtype, {v.shape[0], v.shape[1], v.shape[2], v.shape[3]});
  if (last) copy = TensorView(room.data(), v.dtype, {v.shape[0], v.shape[2], v.shape[3], v.shape[1]}).permuted(order);
  const int64_t h = v.shape[2] / mask.rows, w = v.shape[3] / mask.columns;
  parallel_for(v.shape[0], [&](int64_t n, int) {
    for (int64_t c = 0; c < v.shape[1]; ++c)
      for (int64_t i = 0; i < v.shape[2]; ++i)
        for (int64_t j = 0; j < v.shape[3]; ++j) {
          const auto at = [&](const TensorView& t) {
            return static_cast<T*>(t.data) + n * t.strides[0] + c * t.strides[1] + i * t.strides[2] + j * t.strides[3];
          };
          *at(copy) = is_seen(mask, n, i / h, j / w) ? *at(v) : T(0);
        }
  });
  return copy;
}

// `plan`: with packed weights, or null.
void convolve_densely(const ConvDesc& desc, const CellMask& mask, ConvOperands o, const ConvPlan* plan) {
  AlignedBuffer rooms[2];
  const auto hide = [&](TensorView& v, AlignedBuffer& room) {
    v = v.dtype == DType::float64 ? masked_copy<double>(v, mask, room) : masked_copy<float>(v, mask, room);
  };
  hide(o.a, rooms[0]);
  if (desc.op == ConvOp::grad_weight) hide(o.b, rooms[1]);
  plan ? plan->run(o) : convolve(desc, o);
}

void check(const ConvDesc& desc, const Problem& p, int64_t rows, int64_t columns) {
  const auto fail = [](const std::string& message) { throw Error(Code::invalid_argument, message); };
  if (desc.spatial != 2) fail("masked convolution has 2 spatial axes; found are " + std::to_string(desc.spatial));
  if (desc.device != Device{}) throw Error(Code::not_supported, "masked convolution runs on the CPU alone");
  const int64_t cells[] = {rows, columns};
  if (rows < 1 || columns < 1)
    fail("block_mask has " + std::to_string(rows) + " x " + std::to_string(columns) + " cells; expected are 1 or more");
  for (int i = 0; i < 2; ++i)
    for (const int64_t size : {p.axis[1 + i].in, p.axis[1 + i].out})
      if (size % cells[i] != 0)
        fail("block_mask has " + std::to_string(cells[i]) + (i ? " columns" : " rows") + ", which do not divide the " +
             std::to_string(size) + " of x or of the result");
}

bool is_plain(const ConvDesc& desc) {
  return desc.dtype == DType::float32 && desc.padding_mode == PaddingMode::zeros &&
         (desc.precision == Precision::highest || desc.precision == Precision::high);
}

}  // namespace
}  // namespace sparse

struct MaskedConvPlan::Impl {
  enum class Way { blocks, depthwise, dense };
  ConvDesc desc;
  int64_t rows, columns;
  conv::Problem problem = conv::make_problem(desc);
  std::vector<int64_t> y_shape = conv_output_shape(desc);
  Way way = Way::dense;
  sparse::Blocks blocks{};
  conv::Axis axis[2];                                // of the forward convolution that the depthwise way computes
  std::optional<ConvPlan> plan;                      // of some blocks; in the dense way if its weights are packed
  std::optional<sparse::DepthwiseWeights> channels;  // packed
  bool packed = false;

  Impl(const ConvDesc& d, int64_t r, int64_t c) : desc(d), rows(r), columns(c) {
    using namespace sparse;
    check(desc, problem, rows, columns);
    const conv::Problem& p = problem;
    const int64_t cells[] = {rows, columns};
    const bool depthwise = p.ci == 1 && p.co == 1 && p.groups > 1;
    const bool plain = is_plain(desc), same = p.axis[1].stride == 1 && p.axis[2].stride == 1;
    for (int i = 0; i < 2; ++i) axis[i] = p.axis[1 + i];
    if (plain && depthwise && (desc.op == ConvOp::forward || (desc.op == ConvOp::grad_input && same))) {
      // The gradient of x with stride 1 is a convolution by the flipped taps.
      for (conv::Axis& a : axis)
        if (desc.op == ConvOp::grad_input) std::swap(a.in, a.out), a.lo = a.window() - 1 - a.lo;
      if (masked_depthwise_fits(rows, axis[0], axis[1])) way = Way::depthwise;
    } else if (plain && !depthwise) {
      blocks = forward_blocks(p, cells);
      if (desc.op != ConvOp::grad_input || input_blocks(p, cells, &blocks)) way = Way::blocks;
    }
    if (way == Way::blocks && p.batch > 0) plan = plan_blocks(desc, rows * columns, blocks);
  }

  bool images() const { return desc.op != ConvOp::grad_weight; }
  bool flipped() const { return desc.op == ConvOp::grad_input; }
};

MaskedConvPlan::MaskedConvPlan(const ConvDesc& desc, int64_t rows, int64_t columns)
    : impl_(std::make_unique<Impl>(desc, rows, columns)) {}
MaskedConvPlan::~MaskedConvPlan() = default;
MaskedConvPlan::MaskedConvPlan(MaskedConvPlan&&) noexcept = default;
MaskedConvPlan& MaskedConvPlan::operator=(MaskedConvPlan&&) noexcept = default;

void MaskedConvPlan::pack(const TensorView& weight) {
  Impl& s = *impl_;
  if (!s.images()) throw Error(Code::invalid_argument, "the gradient of the weights has no weights to pack");
  conv::check_weight(s.desc, weight);
  if (s.way == Impl::Way::depthwise)
    s.channels.emplace(weight, s.flipped());
  else if (s.problem.batch > 0)
    (s.plan ? *s.plan : s.plan.emplace(s.desc)).pack(weight);
  s.packed = true;
}

void MaskedConvPlan::run(const CellMask& mask, const ConvOperands& operands) const {
  using namespace sparse;
  const Impl& s = *impl_;
  if (mask.batch != s.problem.batch || mask.rows != s.rows || mask.columns != s.columns)
    throw Error(Code::invalid_argument, "block_mask has " + std::to_string(mask.batch) + " images of " +
                                            std::to_string(mask.rows) + " x " + std::to_string(mask.columns) +
                                            " cells; expected are " + std::to_string(s.problem.batch) + " images of " +
                                            std::to_string(s.rows) + " x " + std::to_string(s.columns));
  ConvOperands o = operands;
  if (s.packed) o.b = TensorView();
  conv::check_operands(s.desc, s.y_shape, o, s.packed);
  if (s.images() && o.out.size() == 0) return;
  switch (s.way) {
    case Impl::Way::depthwise: {
      AlignedBuffer room[2];
      const conv::FinishArgs finish = finish_of(s.desc, o, room);
      std::optional<DepthwiseWeights> here;
      const DepthwiseWeights& weights = s.channels ? *s.channels : here.emplace(o.b, s.flipped());
      return masked_depthwise({mask, s.axis[0], s.axis[1], o.a, weights, o.out, finish, o.residual});
    }
    case Impl::Way::dense: convolve_densely(s.desc, mask, o, s.packed ? &*s.plan : nullptr); break;
    case Impl::Way::blocks:
      if (!s.images()) return grad_weight_blocks(s.desc, mask, o, s.blocks, *s.plan);
      convolve_blocks(s.desc, mask, o, s.blocks, *s.plan);
  }
  if (s.images()) clear_hidden(o.out, mask);
}

const ConvDesc& MaskedConvPlan::desc() const { return impl_->desc; }
std::vector<int64_t> MaskedConvPlan::output_shape() const {
  const Impl& s = *impl_;
  return s.desc.op == ConvOp::forward ? s.y_shape : s.images() ? s.desc.x_shape : s.desc.w_shape;
}
std::string MaskedConvPlan::algorithm() const {
  switch (impl_->way) {
    case Impl::Way::depthwise: return "masked_depthwise";
    case Impl::Way::dense: return "dense";
    case Impl::Way::blocks: break;
  }
  return "blocks, " + (impl_->plan ? impl_->plan->algorithm() : std::string("none"));
}

void masked_convolve(const ConvDesc& desc, const CellMask& mask, const ConvOperands& operands) {
  ConvDesc d = desc;
  d.weights_change = true;
  MaskedConvPlan(d, mask.rows, mask.columns).run(mask, operands);
}

}  // namespace omniconv
