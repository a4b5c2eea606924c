// conv/planar_nest.hpp -- the loops over planar tiles, and the strip of input under them
#pragma once

#include <string>

#include "conv/planar.hpp"

namespace omniconv::conv {

// The strip [ci][kd][row][phase][column] under a block of output rows of one image and group.
struct PlanarStrip {
  const Problem& p;
  int64_t phase, line;  // floats of a phase of a row, of a row
  int64_t block;        // output rows together
  int64_t lanes;

  PlanarStrip(const Problem& problem, const Kernels& k, int64_t rows_together = 1) : p(problem), block(rows_together) {
    const Axis& w = p.axis[2];
    phase = ceil_div((w.out - 1) * w.stride + w.window(), w.stride);
    line = phase * w.stride;
    lanes = k.lanes;
  }

  // The same for blocks of at most `most` rows and kBudget, as even as can be.
  PlanarStrip cut(int64_t most) const;

  static constexpr size_t kBudget = size_t{48} << 10;  // many tasks for few threads, and near L1
  static constexpr size_t kLimit = size_t{1} << 20;    // beyond, other algorithms serve

  int64_t rows(int64_t outputs) const { return (outputs - 1) * p.axis[1].stride + p.axis[1].window(); }
  // The last tile reads whole vectors.
  int64_t floats() const { return p.ci * p.axis[0].taps * rows(block) * line + kMaxPlanarVectors * lanes; }
  int64_t blocks() const { return ceil_div(p.axis[1].out, block); }

  // Where term k finds the first pixel, k in the order of the packed weights, for strips of `outputs` output rows.
  void offsets(int64_t outputs, int64_t* to) const;
  // `x`: the group's first channel of the image.
  void fill(const Kernels& k, const Operands& m, const float* x, int64_t od, int64_t first, int64_t outputs,
            float* to) const;

 private:
  void fill_line(const float* x, int64_t step, float* to) const;
  void fill_border(const float* x, int64_t step, int64_t q, int64_t from, int64_t until, float* to) const;
};

// Why not, where the strip of the least block, `outputs` rows, would be too large; or empty.
std::string decline_strip(const Problem& p, int64_t outputs);

// Tiles over channels serve from so many output channels of a group on; below, tiles are over rows.
inline bool planar_over_channels(const Problem& p) { return p.co >= 4; }

// One run, cut into strips: what a task is, and the order of its tiles.
class PlanarNest {
 public:
  // Rows of output of one image and group.
  struct Place {
    int64_t n, group, od, first, outputs;
  };
  // Pieces of one width under the same weights, side by side: each channel's row is written from left to right, a few
  // rows at a time, which the prefetcher follows (conv7, 12 MB of output: 5 to 15 % less time than channel by channel
  // under each piece).
  struct TileRow {
    const Place& place;
    int64_t channel, row, column, vectors, pieces, channels;
  };

  PlanarNest(const Run& run, const PlanarStrip& strip);

  int64_t tasks() const { return p_.batch * p_.groups * p_.axis[0].out * blocks_; }
  Place place(int64_t task) const;
  // The strip under `outputs` rows from the first of a place on.
  void fill(const Place& b, int64_t outputs, float* strip) const {
    strip_.fill(k_, m_, m_.x + b.n * m_.xs.n + b.group * p_.ci * m_.xs.c, b.od, b.first, outputs, strip);
  }
  void channels(const Place& b, const float* strip, const int64_t* offsets, float* sums) const;
  void rows(const Place& b, const float* strip, const int64_t* offsets, float* sums) const;

  // Sums go straight to their place where they are the result.
  bool plain() const { return plain_; }
  float* y_of(const Place& b, int64_t channel, int64_t row) const {
    return m_.y + b.n * m_.ys.n + channel * m_.ys.c + b.od * m_.ys.axis[0] + (b.first + row) * m_.ys.axis[1];
  }
  // Rows of sums of one tile of pixels to output channels from `channel` on, or to rows of that one.
  void finish(const Place& b, const float* c, int64_t c_row, int64_t rows, int64_t pixels, int64_t channel, int64_t row,
              int64_t column, bool by_channel) const;

  // body(TileRow, args) for every row of tiles of a place, `step` rows at a time, under panels of `terms` rows each in
  // `weights`: args.w and args.w_term are set.
  template <class Args, class Body>
  void each_tile_row(const Place& b, const float* weights, int64_t terms, int64_t step, Args& args, Body&& body) const;

 private:
  void row_of_tiles(const TileRow& t, PlanarArgs& args, float* sums) const;
  void one_row(const Place& b, PlanarArgs& args, const float* strip, float* sums, int64_t channel) const;
  // The rows under each other of a place, as tiles of one width: by slide_3, or by tiles of any kernel.
  struct Down {
    bool slide_3;
    Cuts cuts;
  };
  Down down_of(int64_t outputs, int vectors) const;
  int64_t last() const { return p_.axis[1].out - (blocks_ - 1) * strip_.block; }  // rows of the last block

  const Run& run_;
  const Problem& p_;
  const Operands& m_;
  const Kernels& k_;
  const PlanarStrip& strip_;
  Panels panels_;
  Cuts across_;
  bool plain_;
  // Found once: with the divisions that they take in every task, 960 planes of 7x7 spent half of their time on them.
  int64_t blocks_, panel_floats_, panel_lanes_;
  bool slide_;  // neighbouring rows share all rows of input but one: each is read once for all of them
  Down down_[2][kMaxPlanarVectors + 1];  // [of the last block, if it is lower][vectors]
};

template <class Args, class Body>
void PlanarNest::each_tile_row(const Place& b, const float* weights, int64_t terms, int64_t step, Args& args,
                               Body&& body) const {
  struct {
    int64_t vectors, pieces;
  } const widths[] = {{across_.each + 1, across_.more}, {across_.each, across_.count - across_.more}};
  weights += b.group * panels_.size(terms);
  for (int64_t j = 0; j < panels_.count(); ++j) {
    const float* panel = weights + j * panels_.width * terms;
    const int64_t used = panels_.used(j), first = b.group * p_.co + j * panels_.width;
    args.w_term = panels_.lanes_of(j);
    // One cut of the channels per width of tile: a tile of 27 terms takes 160 cycles, a division some 20.
    const Cuts down[] = {{used, 1}, {used, k_.planar.rows[1]}, {used, k_.planar.rows[2]}, {used, k_.planar.rows[3]}};
    for (int64_t r = 0; r < b.outputs; r += step) {
      int64_t column = 0;
      for (const auto [v, pieces] : widths) {
        if (pieces == 0) continue;
        for (int64_t t = 0, lane = 0; t < down[v].count; lane += down[v].size(t++)) {
          args.w = panel + lane;
          body(TileRow{b, first + lane, r, column, v, pieces, down[v].size(t)});
        }
        column += pieces * v * k_.lanes;
      }
    }
  }
}

}  // namespace omniconv::conv
