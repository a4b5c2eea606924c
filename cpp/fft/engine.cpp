// fft/engine.cpp -- rows through transforms: tasks, packing, the order of passes
#include "fft/engine.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "core/thread_pool.hpp"
#include "reference/conv.hpp"

namespace omniconv::fft {
namespace {

constexpr int64_t kPackedRows = 16;  // a cache line of float32 channels

// Plans of one length share a table: roots of 2^20 points take 12 MiB and as many sines as there are numbers.
template <class T>
std::shared_ptr<const Tables<T>> shared_tables(int64_t points, int lanes) {
  static std::mutex mutex;
  static std::map<std::pair<int64_t, int>, std::weak_ptr<const Tables<T>>> all;
  const std::lock_guard lock(mutex);
  std::erase_if(all, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<const Tables<T>>& known = all[{points, lanes}];
  std::shared_ptr<const Tables<T>> tables = known.lock();
  if (!tables) known = tables = std::make_shared<const Tables<T>>(points, lanes);
  return tables;
}

template <class T>
void gather(View<const T> v, const T* from, int64_t rows, int64_t count, int64_t pitch, T* to) {
  for (int64_t i = 0; i < count; ++i)
    for (int64_t r = 0; r < rows; ++r) to[r * pitch + i] = from[i * v.t + r * v.h];
}
template <class T>
void scatter(View<T> v, T* to, int64_t rows, int64_t count, int64_t pitch, const T* from) {
  for (int64_t i = 0; i < count; ++i)
    for (int64_t r = 0; r < rows; ++r) to[i * v.t + r * v.h] = from[r * pitch + i];
}

}  // namespace

template <class T>
void finish_row(T* y, const T* post, int64_t count, Activation activation, double negative_slope) {
  for (int64_t i = 0; i < count; ++i) {
    const double s = reference::activate(activation, double(y[i]), negative_slope);
    y[i] = T(post ? s * double(post[i]) : s);
  }
}

template <class T>
Engine<T>::Engine(const Map& map, const Geometry& geometry, const Kernels<T>& kernels,
                  std::shared_ptr<const Rate<T>> rate)
    : map_(map), geometry_(geometry), kernels_(kernels), rate_(std::move(rate)) {
  if (geometry.points) tables_ = shared_tables<T>(geometry.points, kernels.lanes);
}

template <class T>
int64_t Engine<T>::segment() const {
  return map_.circular || rate_ ? inputs() : std::min(map_.in, geometry_.window(block_outputs()));
}
template <class T>
int64_t Engine<T>::block_outputs() const {
  return rate_ ? outputs() : std::min(map_.out, geometry_.step);
}
template <class T>
int64_t Engine<T>::group() const {
  return std::clamp<int64_t>((int64_t{1} << 16) / std::max(segment(), block_outputs()), 1, kPackedRows);
}
template <class T>
size_t Engine<T>::pack_bytes() const {  // u, pre; y, y2, post, post2
  return (size_t(group()) * (2 * segment() + 4 * block_outputs()) * sizeof(T) + 63) / 64 * 64;
}

template <class T>
Source<T> Engine<T>::source(const T* data, const T* gate, int64_t block) const {
  Source<T> s{data, gate, inputs(), geometry_.first + block * geometry_.step, 0, 0};
  if (map_.circular) {
    s.before = std::max<int64_t>(map_.hi - map_.t0, 0);
    s.after = std::max<int64_t>(-map_.lo, 0);
  }
  return s;
}

template <class T>
void Engine<T>::transform(const T* lags, T* room, T* spectrum, int threads) const {
  if (direct()) {
    std::copy(lags, lags + geometry_.taps, spectrum);
    return;
  }
  const Team<T> team = this->team(threads);
  const int64_t n = 2 * geometry_.points, first = map_.lo - geometry_.origin, negative = std::max<int64_t>(-first, 0);
  LoadArgs<T> in{&team.t, {lags, nullptr, map_.span() + 1, -first, 0, 0}, spectrum, 0, 0, {}};
  if (negative) {  // lags before the origin are at the end, with the other sign
    const int64_t wrapped = std::min(negative, map_.span() + 1);
    std::fill(room, room + n, T(0));
    for (int64_t i = 0; i < wrapped; ++i) room[n - negative + i] = -lags[i];
    for (int64_t i = wrapped; i <= map_.span(); ++i) room[i - negative] = lags[i];
    in.source = {room, nullptr, n, 0, 0, 0};
  }
  team.load(in);
  team.walk(kernels_.forward, spectrum);
}

template <class T>
void Engine<T>::convolve(const LoadArgs<T>& in, const StoreArgs<T>& out, const T* spectrum, int threads) const {
  if (direct()) return kernels_.direct({in.source, spectrum, geometry_.taps, in.z, out});
  if (rate_) return convolve_lower(in, out, spectrum, threads);
  const Team<T> team = this->team(threads);
  team.load(in);
  team.walk(kernels_.convolve, in.z, spectrum);
  team.store(out);
}

template <class T>
void Engine<T>::convolve_lower(const LoadArgs<T>& in, const StoreArgs<T>& out, const T* spectrum, int threads) const {
  const Team<T> team = this->team(threads);
  T* room = in.z + 2 * geometry_.points;
  T* low = rate_->lowest(room);
  rate_->down(in, room, threads);
  team.load({&team.t, {low, nullptr, map_.in, geometry_.first, 0, 0}, in.z, 0, 0, {}});
  team.walk(kernels_.convolve, in.z, spectrum);
  StoreArgs<T> sums{};
  sums.transform = &team.t;
  sums.z = in.z;
  sums.last = map_.out;
  sums.shift = geometry_.shift;
  sums.y = low;
  team.store(sums);
  rate_->up(out, room, threads);
}

// One block of up to group() rows (b, c, h ...), packed first where their elements are not adjacent.
template <class T>
struct Engine<T>::Job {
  const Engine& e;
  const Rows<T>& rows;
  int64_t ib, ic, ih, count, block;
  T* z;
  T* pack;
  const T* next_u = nullptr;  // what the job after this one begins with
  const T* next_pre = nullptr;

  int64_t first_output() const { return block * e.geometry_.step; }
  int64_t last_output() const { return first_output() + std::min(e.block_outputs(), e.outputs() - first_output()); }

  // The elements of u that the block reads, [low, high).
  void reach(int64_t* low, int64_t* high) const {
    *low = 0;
    *high = e.inputs();
    if (e.map_.circular || e.geometry_.blocks == 1) return;
    *low = std::clamp<int64_t>(e.geometry_.first + first_output(), 0, *high);
    *high = std::clamp<int64_t>(e.geometry_.first + first_output() + e.geometry_.window(last_output() - first_output()),
                                *low, *high);
  }

  // Row 0 of an operand and the step to the next, so that element i of the row is at [i] for i in [low, high).
  struct Lane {
    T* row = nullptr;
    int64_t next = 0;
  };
  Lane place(View<const T> v, int64_t low, int64_t high, int64_t room, bool read) {
    if (!v.data) return {};
    const T* row = v.row(ib, ic, ih);
    if (!v.strided()) return {const_cast<T*>(row), v.h};
    if (read) gather(v, row + low * v.t, count, high - low, room, pack);
    const Lane lane{pack - low, room};
    pack += e.group() * room;
    return lane;
  }

  StoreArgs<T> store_args(const Transform<T>* t) const {
    StoreArgs<T> out{};
    out.transform = t;
    out.z = z;
    out.end = e.columns();
    out.first = first_output();
    out.last = last_output();
    out.shift = e.geometry_.shift - block * e.geometry_.step;
    out.activation = rows.activation;
    out.negative_slope = T(rows.negative_slope);
    return out;
  }

  void run(int threads) {
    int64_t low, high;
    reach(&low, &high);
    const int64_t from = first_output(), to = last_output();
    const View<const T> y_view{rows.y.data, rows.y.b, rows.y.c, rows.y.h, rows.y.t};
    const View<const T> y2_view{rows.y2.data, rows.y2.b, rows.y2.c, rows.y2.h, rows.y2.t};
    const int64_t in_room = e.segment(), out_room = e.block_outputs();
    const Lane u = place(rows.u, low, high, in_room, true), pre = place(rows.pre, low, high, in_room, true);
    const Lane post = place(rows.post, from, to, out_room, true), post2 = place(rows.post2, from, to, out_room, true);
    const Lane y = place(y_view, from, to, out_room, false), y2 = place(y2_view, from, to, out_room, false);
    // Kernels of float64 have no activations: they store what comes before, and the row is finished afterwards.
    const bool later = sizeof(T) == 8 && rows.activation != Activation::none;
    for (int64_t r = 0; r < count; ++r) {
      const Transform<T>* t = e.transform();
      LoadArgs<T> in{
          t, e.source(u.row + r * u.next, pre.row ? pre.row + r * pre.next : nullptr, block), z, 0, e.columns(), {}};
      if (rows.u.strided() && !e.map_.circular) in.source.size = high;  // no more has been packed
      StoreArgs<T> out = store_args(t);
      out.y = y.row + r * y.next;
      out.post = !later && post.row ? post.row + r * post.next : nullptr;
      out.y2 = y2.row ? y2.row + r * y2.next : nullptr;
      out.post2 = post2.row ? post2.row + r * post2.next : nullptr;
      if (rows.skip.data) {
        out.u = in.source.data;
        out.pre = in.source.gate;
        out.skip = *rows.skip.row(ib, ic, ih + r);
      }
      out.bias = rows.bias.data ? *rows.bias.row(ib, ic, ih + r) : T(0);
      if (later) out.activation = Activation::none;
      const bool brief = std::max(e.segment(), e.block_outputs()) * int64_t(sizeof(T)) <= kShortBytes;
      if (brief) {
        in.touch.read[0] = out.post ? out.post + from : nullptr;
        in.touch.write = out.y + from;
        in.touch.count = to - from;
        out.touch.read[0] = next_u;
        out.touch.read[1] = next_pre;
        out.touch.count = high - low;
      }
      const T* spectrum = rows.spectrum.row(ib, ic, ih + r);
      e.convolve(in, out, spectrum, threads);
      if (later)
        finish_row(out.y + from, post.row ? post.row + r * post.next + from : nullptr, to - from, rows.activation,
                   rows.negative_slope);
    }
    if (rows.y.strided())
      scatter(rows.y, rows.y.row(ib, ic, ih) + from * rows.y.t, count, to - from, y.next, y.row + from);
    if (rows.y2.strided())
      scatter(rows.y2, rows.y2.row(ib, ic, ih) + from * rows.y2.t, count, to - from, y2.next, y2.row + from);
  }
};

template <class T>
size_t Engine<T>::workspace_bytes(int threads, bool strided) const {
  return size_t(threads) * thread_bytes(strided);
}

template <class T>
void Engine<T>::run(const Rows<T>& rows, char* workspace, int threads) const {
  const bool strided = rows.strided();
  const size_t each = thread_bytes(strided);
  const int64_t size = strided ? group() : 1;
  const int64_t groups = (rows.channels + size - 1) / size;
  const int64_t lines = rows.kernels * groups * rows.batch;  // batch innermost: samples share a spectrum
  // A few consecutive lines per task keep that spectrum in one core's cache, as long as there are tasks enough.
  int64_t share = lines >= 8 * threads * rows.batch ? rows.batch : 1;
  // Short rows by the half dozen: so the next one is known to this core, and can be fetched.
  while (share * z_bytes() < size_t(kShortBytes) && lines >= 16 * threads * share) share *= 2;
  const auto job = [&](int64_t line, int64_t block, char* memory) {
    const int64_t ib = line % rows.batch, ih = line / rows.batch % groups * size, ic = line / rows.batch / groups;
    T* z = reinterpret_cast<T*>(memory);
    T* pack = reinterpret_cast<T*>(memory + z_bytes());
    Job job{*this, rows, ib, ic, ih, std::min(size, rows.channels - ih), block, z, pack};
    if (!strided && geometry_.blocks == 1 && line + 1 < lines) {
      const int64_t nb = (line + 1) % rows.batch, nh = (line + 1) / rows.batch % groups;
      job.next_u = rows.u.row(nb, (line + 1) / rows.batch / groups, nh);
      job.next_pre = rows.pre.row(nb, (line + 1) / rows.batch / groups, nh);
    }
    return job;
  };
  const int64_t tasks = lines * geometry_.blocks;
  // Several threads on one row only where there are too few rows: every row then waits for the slowest at each sweep.
  if (tasks < threads && z_bytes() >= kTogetherBytes) {
    for (int64_t task = 0; task < tasks; ++task)
      job(task / geometry_.blocks, task % geometry_.blocks, workspace).run(threads);
    return;
  }
  if (geometry_.blocks == 1)
    parallel_for((lines + share - 1) / share, threads, [&](int64_t task, int worker) {
      for (int64_t line = task * share; line < std::min(lines, (task + 1) * share); ++line)
        job(line, 0, workspace + worker * each).run(1);
    });
  else
    parallel_for(tasks, threads, [&](int64_t task, int worker) {
      job(task / geometry_.blocks, task % geometry_.blocks, workspace + worker * each).run(1);
    });
}

template void finish_row(float*, const float*, int64_t, Activation, double);
template void finish_row(double*, const double*, int64_t, Activation, double);
template class Engine<float>;
template class Engine<double>;

}  // namespace omniconv::fft
