// omniconv/omniconv.h -- the C interface, the one whose binary form stays stable within a minor version
//
// Arrays are DLTensors on the CPU, float32 or float64, of any strides (strides == NULL: dense row-major). The library
// takes no ownership and keeps no pointer after a call. Everything may be called from several threads at once.
//
//   omniconv_conv_options options;
//   omniconv_conv_options_init(&options, sizeof options);
//   options.pad_lo[0] = options.pad_hi[0] = options.pad_lo[1] = options.pad_hi[1] = 1;
//   options.activation = "relu";
//   if (omniconv_conv(&x, &w, &bias, NULL, NULL, &out, &options) != OMNICONV_OK) puts(omniconv_last_error());
#pragma once

#include <dlpack/dlpack.h>
#include <stddef.h>
#include <stdint.h>

#include "omniconv/export.hpp"
#include "omniconv/version.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum omniconv_status {
  OMNICONV_OK = 0,
  OMNICONV_INVALID_ARGUMENT = 1,
  OMNICONV_TYPE_ERROR = 2,
  OMNICONV_NOT_SUPPORTED = 3,
  OMNICONV_OUT_OF_MEMORY = 4,
  OMNICONV_INTERNAL = 5
} omniconv_status;

// What went wrong in the calling thread's latest call that failed: which argument, what was found, what is allowed.
// "" before the first; valid until the thread's next failure.
OMNICONV_API const char* omniconv_last_error(void);

// Version of the loaded library, "major.minor.patch". Never null; lives as long as the library.
OMNICONV_API const char* omniconv_version(void);

// ---- the process: threads and instruction set ----------------------------------------------------------------------

// Threads that one operation may use, the caller included; 1 to 1024.
OMNICONV_API omniconv_status omniconv_get_num_threads(int* threads);
OMNICONV_API omniconv_status omniconv_set_num_threads(int threads);

// "scalar", "neon", "avx2", "avx512", "avx512vnni" or "amx". Plans keep the level they were made under.
OMNICONV_API omniconv_status omniconv_get_isa(const char** isa);
OMNICONV_API omniconv_status omniconv_set_isa(const char* isa);
// What this machine can run, worst first, ended by NULL; lives as long as the library. NULL when out of memory.
OMNICONV_API const char* const* omniconv_available_isas(void);

// The cudaStream_t that calls of this thread on CUDA arrays are put into from now on; they come back before they are
// done. NULL, as at first: the legacy default stream. Dense convolutions and omniconv_bessel() take such arrays; all
// arrays of a call, its workspace included, lie on one device.
OMNICONV_API void omniconv_set_stream(void* stream);

// ---- dense convolution ---------------------------------------------------------------------------------------------
//
//   out[n, co, o] = activation(scale[co] * sum_{ci, k} w[co, ci, k] x[n, ci, o * stride + k * dilation - pad_lo]
//                              + bias[co] + residual[n, co, o])
// with x [N, Ci, *spatial], w [Co, Ci / groups, *kernel], out and residual [N, Co, *out], bias and scale [Co] and 1
// to 3 spatial axes. NHWC is the same shapes with other strides. bias, scale and residual may be NULL; out overlaps
// no input.

// One value per spatial axis of the weight counts. Words are those of the Python package; NULL means the default.
typedef struct omniconv_conv_options {
  size_t size;                     // of this struct as the caller knows it, so that it can grow
  int64_t stride[3], dilation[3];  // 1
  int64_t pad_lo[3], pad_hi[3];    // 0
  int64_t output_padding[3];       // 0; elements of x past the last window
  int64_t groups;                  // 1
  const char* padding_mode;        // "zeros"; "reflect", "replicate", "circular"
  const char* activation;          // "none"; "relu", "leaky_relu", "silu", "gelu", ...
  const char* precision;           // "highest"; "high", "medium", "dfp16"
  const char* algorithm;           // "auto"; a name that omniconv_conv_algorithms() lists
  float negative_slope;            // 0.01, of leaky_relu
  int32_t channels_last;           // 0; 1 plans for NHWC, also where the strides of x do not say so
} omniconv_conv_options;

// Fills in the defaults; size is sizeof(omniconv_conv_options). NULL for options means the defaults everywhere below.
OMNICONV_API omniconv_status omniconv_conv_options_init(omniconv_conv_options* options, size_t size);

// shape: room for x->ndim values. Of x and weight only shape and type are read, data may be NULL.
OMNICONV_API omniconv_status omniconv_conv_output_shape(const DLTensor* x, const DLTensor* weight,
                                                        const omniconv_conv_options* options, int64_t* shape);

OMNICONV_API omniconv_status omniconv_conv(const DLTensor* x, const DLTensor* weight, const DLTensor* bias,
                                           const DLTensor* scale, const DLTensor* residual, const DLTensor* out,
                                           const omniconv_conv_options* options);

// Gradient of x into out, whose shape is that of x; also the transposed convolution of `grad`, hence the epilogue
// (options->activation included), with bias and scale [Ci]. A transposed convolution has
// (n - 1) * stride - pad_lo - pad_hi + dilation * (kernel - 1) + output_padding + 1 outputs along an axis.
OMNICONV_API omniconv_status omniconv_conv_grad_input(const DLTensor* grad, const DLTensor* weight,
                                                      const DLTensor* bias, const DLTensor* scale,
                                                      const DLTensor* residual, const DLTensor* out,
                                                      const omniconv_conv_options* options);

// Gradient of the weight into out, whose shape is that of weight. options->activation must be "none".
OMNICONV_API omniconv_status omniconv_conv_grad_weight(const DLTensor* grad, const DLTensor* x, const DLTensor* out,
                                                       const omniconv_conv_options* options);

// out[co] = sum of grad [N, Co, *out] over everything but channels.
OMNICONV_API omniconv_status omniconv_conv_grad_bias(const DLTensor* grad, const DLTensor* out);

// ---- plans: describe once, run often -------------------------------------------------------------------------------

typedef enum omniconv_conv_op {
  OMNICONV_CONV_FORWARD = 0,     // a = x,            b = w, out = y
  OMNICONV_CONV_GRAD_INPUT = 1,  // a = gradient of y, b = w, out = gradient of x
  OMNICONV_CONV_GRAD_WEIGHT = 2  // a = gradient of y, b = x, out = gradient of w
} omniconv_conv_op;

typedef struct omniconv_conv_plan omniconv_conv_plan;

// x and weight of the forward convolution, whatever the op; only their shapes, strides and types are read.
OMNICONV_API omniconv_status omniconv_conv_plan_create(omniconv_conv_op op, const DLTensor* x, const DLTensor* weight,
                                                       const omniconv_conv_options* options, omniconv_conv_plan** plan);
OMNICONV_API void omniconv_conv_plan_destroy(omniconv_conv_plan* plan);  // NULL is fine

// Packs the weights once; runs then ignore b. Not while another thread runs the plan.
OMNICONV_API omniconv_status omniconv_conv_plan_pack(omniconv_conv_plan* plan, const DLTensor* weight);

// workspace: 64-byte aligned, at least omniconv_conv_plan_workspace_bytes() long, one per call that is under way; then
// a packed plan allocates nothing. NULL and 0: memory that the library keeps for the calling thread.
OMNICONV_API omniconv_status omniconv_conv_plan_run(const omniconv_conv_plan* plan, const DLTensor* a,
                                                    const DLTensor* b, const DLTensor* bias, const DLTensor* scale,
                                                    const DLTensor* residual, const DLTensor* out, void* workspace,
                                                    size_t workspace_bytes);
OMNICONV_API omniconv_status omniconv_conv_plan_workspace_bytes(const omniconv_conv_plan* plan, size_t* bytes);

// The algorithm that runs, as long as the plan lives; NULL for no plan.
OMNICONV_API const char* omniconv_conv_plan_algorithm(const omniconv_conv_plan* plan);

// A few lines for people. *size: in the room in text, out the bytes that all of it needs, its final 0 included.
OMNICONV_API omniconv_status omniconv_conv_plan_explain(const omniconv_conv_plan* plan, char* text, size_t* size);

typedef struct omniconv_algorithm {
  const char* name;
  int32_t usable;
  const char* reason;      // why not, "" when usable
  size_t workspace_bytes;  // with the current number of threads
  double cost;             // predicted seconds; for comparing algorithms, not a forecast
} omniconv_algorithm;

// Calls visit for every algorithm, the one that "auto" takes first. The struct lives until visit returns.
OMNICONV_API omniconv_status omniconv_conv_algorithms(omniconv_conv_op op, const DLTensor* x, const DLTensor* weight,
                                                      const omniconv_conv_options* options,
                                                      void (*visit)(const omniconv_algorithm* algorithm, void* user),
                                                      void* user);

// ---- long convolutions ----------------------------------------------------------------------------------------------
//
//   y = post_gate * activation(conv(pre_gate * u, k, k_reverse) + skip * pre_gate * u + bias), see omniconv/fft.hpp
// with u and pre_gate [B, H, L], k [H, K], [C, H, K] or, per_sample, [B, H, K], out and post_gate [B, H, Lout] or
// [B, C, H, Lout], skip and bias [H] or [C, H].

typedef struct omniconv_fft_conv_options {
  size_t size;             // of this struct as the caller knows it, so that it can grow
  const char* mode;        // "causal"; "circular", "same", "full", "valid"
  const char* activation;  // "none"; "gelu", ...
  const char* algorithm;   // "auto"; "direct", "fft", "overlap_save", "reference"
  double negative_slope;   // 0.01, of leaky_relu
  int64_t per_sample;      // 0; 1 where k is [B, H, K]
} omniconv_fft_conv_options;

// Fills in the defaults; size is sizeof(omniconv_fft_conv_options). NULL for options means the defaults everywhere.
OMNICONV_API omniconv_status omniconv_fft_conv_options_init(omniconv_fft_conv_options* options, size_t size);

// Zero it, set size to sizeof(omniconv_fft_conv_arrays), and name the arrays there are.
typedef struct omniconv_fft_conv_arrays {
  size_t size;
  const DLTensor *u, *k, *k_reverse, *pre_gate, *post_gate, *skip, *bias;
  const DLTensor* out;  // of forward
  // Of backward: the gradient of out, and those that are wanted, shaped like their arrays (with kernels [C, H, K] du
  // and dpre_gate are [B, C, H, L], of every kernel by itself).
  const DLTensor *grad, *du, *dk, *dk_reverse, *dpre_gate, *dpost_gate, *dskip, *dbias;
} omniconv_fft_conv_arrays;

OMNICONV_API omniconv_status omniconv_fft_conv(const omniconv_fft_conv_arrays* arrays,
                                               const omniconv_fft_conv_options* options);
OMNICONV_API omniconv_status omniconv_fft_conv_backward(const omniconv_fft_conv_arrays* arrays,
                                                        const omniconv_fft_conv_options* options);

// Kernels transformed once, for rows of `length`; runs ignore arrays->k and arrays->k_reverse. k_reverse may be NULL.
typedef struct omniconv_fft_conv_plan omniconv_fft_conv_plan;
OMNICONV_API omniconv_status omniconv_fft_conv_plan_create(const DLTensor* k, const DLTensor* k_reverse, int64_t length,
                                                           const omniconv_fft_conv_options* options,
                                                           omniconv_fft_conv_plan** plan);
OMNICONV_API void omniconv_fft_conv_plan_destroy(omniconv_fft_conv_plan* plan);  // NULL is fine
OMNICONV_API omniconv_status omniconv_fft_conv_plan_run(const omniconv_fft_conv_plan* plan,
                                                        const omniconv_fft_conv_arrays* arrays);

// ---- sparse convolution ---------------------------------------------------------------------------------------------
//
//   out[o, co] = activation(scale[co] * sum over pairs (i, o) under tap t of w[co, ci, t] x[i, ci] + bias[co] +
//   residual)
// with rows of features for sites (batch, x_1 .. x_D), D from 1 to 4; see omniconv/sparse.hpp. A map, made of the sites
// and the window, holds the pairs; it may serve many layers and threads.

// Per axis. Tap t of output o reads the input i = stride * o + dilation * t - padding. Axes past D are not looked at.
typedef struct omniconv_sparse_window {
  int64_t kernel[4], stride[4], padding[4], dilation[4];
} omniconv_sparse_window;

typedef struct omniconv_sparse_map omniconv_sparse_map;

// coords: int32 [rows, 1 + D], no site twice. mode: "subm", outputs at the sites of the input, stride 1; "strided", at
// all sites that a tap reaches; "transposed", at those that the transposed convolution reaches.
OMNICONV_API omniconv_status omniconv_sparse_map_create(const DLTensor* coords, const char* mode,
                                                        const omniconv_sparse_window* window,
                                                        omniconv_sparse_map** map);
// Input and output exchanged, taps as they are: for the way back from a strided convolution, and for the gradient of x,
// which is omniconv_sparse_conv() of that of out by it, the weight's first two axes exchanged within each group.
OMNICONV_API omniconv_status omniconv_sparse_map_inverse(const omniconv_sparse_map* map, omniconv_sparse_map** inverse);
OMNICONV_API void omniconv_sparse_map_destroy(omniconv_sparse_map* map);  // NULL is fine

// Any of the three may be NULL. coords: room for out_rows * (1 + D) values.
OMNICONV_API omniconv_status omniconv_sparse_map_sizes(const omniconv_sparse_map* map, int64_t* out_rows, int64_t* taps,
                                                       int64_t* pairs);
OMNICONV_API omniconv_status omniconv_sparse_map_out_coords(const omniconv_sparse_map* map, int32_t* coords);

// x [rows, Ci], weight [Co, Ci / groups, taps], taps row-major over the axes; out and residual [out_rows, Co], bias and
// scale [Co]. bias, scale, residual and activation may be NULL.
OMNICONV_API omniconv_status omniconv_sparse_conv(const omniconv_sparse_map* map, const DLTensor* x,
                                                  const DLTensor* weight, int64_t groups, const DLTensor* bias,
                                                  const DLTensor* scale, const DLTensor* residual,
                                                  const char* activation, float negative_slope, const DLTensor* out);
OMNICONV_API omniconv_status omniconv_sparse_conv_grad_weight(const omniconv_sparse_map* map, const DLTensor* x,
                                                              const DLTensor* grad, int64_t groups,
                                                              const DLTensor* out);

// mode: "max", "sum" or "avg", over the sites that are there; float32.
OMNICONV_API omniconv_status omniconv_sparse_pool(const omniconv_sparse_map* map, const char* mode, const DLTensor* x,
                                                  const DLTensor* out);

// A matrix in CSR: element e of row i is row_scale[i] * values[e] * column_scale[indices[e]], where what is NULL is 1.
// out = activation(matrix x + bias) for x [columns, width], float32; bias [width] and activation may be NULL.
typedef struct omniconv_csr {
  const int64_t* begin;
  const int32_t* indices;
  const float *values, *row_scale, *column_scale;
  int64_t rows, columns, entries;
} omniconv_csr;
OMNICONV_API omniconv_status omniconv_spmm(const omniconv_csr* matrix, const DLTensor* x, const DLTensor* bias,
                                           const char* activation, float negative_slope, const DLTensor* out);

// Dense convolution of images cut into cells: operands as for omniconv_conv_plan_run(), mask uint8 [N, rows, columns],
// not 0 for a cell that is seen. What is hidden counts as zero, and is zero in images that come out.
OMNICONV_API omniconv_status omniconv_masked_conv(omniconv_conv_op op, const DLTensor* a, const DLTensor* b,
                                                  const DLTensor* mask, const DLTensor* bias, const DLTensor* scale,
                                                  const DLTensor* residual, const DLTensor* out,
                                                  const omniconv_conv_options* options);

// ---- dynamic fixed point -------------------------------------------------------------------------------------------
//
// value = mantissa * 2^exponent, |mantissa| <= 2^bits - 1, see omniconv/dfp16.hpp. mantissa is int16, dense; exponent
// is int32 [1], [x.shape[0]] (image), [x.shape[1]] (channel) or [the product of all axes but the last] (row).

typedef struct omniconv_dfp16_options {
  size_t size;              // of this struct as the caller knows it, so that it can grow
  const char* granularity;  // "tensor"; "image", "channel", "row": what shares an exponent
  const char* rounding;     // "nearest_even"; "toward_zero", "stochastic"
  uint64_t seed, stream;    // 0, of stochastic rounding
  int32_t bits;             // 15; 2 to 15
  int32_t saturate;         // 0; 1: infinities become the largest mantissa and NaN 0, else they are an error
  const char* accumulate;   // "exact"; "fp32_spill"
  const char* overflow;     // "certified"; "worst_case", "unchecked"
  int32_t a_bits, b_bits;   // 15, of the operands of a convolution; 16 where they may hold -32768
} omniconv_dfp16_options;

// Fills in the defaults; size is sizeof(omniconv_dfp16_options). NULL for options means the defaults everywhere.
OMNICONV_API omniconv_status omniconv_dfp16_options_init(omniconv_dfp16_options* options, size_t size);

// x: float32 of any strides.
OMNICONV_API omniconv_status omniconv_dfp16_quantize(const DLTensor* x, const DLTensor* mantissa,
                                                     const DLTensor* exponent, const omniconv_dfp16_options* options);
// out: float32 or float64, dense.
OMNICONV_API omniconv_status omniconv_dfp16_dequantize(const DLTensor* mantissa, const DLTensor* exponent,
                                                       const DLTensor* out, const omniconv_dfp16_options* options);

// a, b as for omniconv_conv_op, both mantissas; out: float32, nearest to the exact sums, or int64, the sums themselves.
// bias, float32, may be NULL, and goes with float32 and the forward convolution. Of `geometry` activation and the
// algorithm ("auto", "lines", "pairs", "tiles", "emulated_tiles") count too, precision does not.
OMNICONV_API omniconv_status omniconv_dfp16_conv(omniconv_conv_op op, const DLTensor* a, const DLTensor* a_exponent,
                                                 const DLTensor* b, const DLTensor* b_exponent, const DLTensor* bias,
                                                 const DLTensor* out, const omniconv_conv_options* geometry,
                                                 const omniconv_dfp16_options* options);

// ---- modified Bessel functions ------------------------------------------------------------------------------------

// function: "log_iv", "log_kv", "log_ive", "log_kve", "iv_ratio", "iv_ratioc", "kv_ratio", "iv_ratio_dx", "log_iv_grad"
// or "log_kv_grad", as in omniconv/bessel.hpp. v and x are broadcast to the shape of out; second, of that shape too,
// takes d/dx of the two gradients, whose d/dv goes to out, and is NULL for the other functions.
OMNICONV_API omniconv_status omniconv_bessel(const char* function, const DLTensor* v, const DLTensor* x,
                                             const DLTensor* out, const DLTensor* second);

#ifdef __cplusplus
}  // extern "C"
#endif
