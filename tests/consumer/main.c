/* tests/consumer/main.c -- uses the C interface of an installed omniconv: numbers known by hand, and an error. */
#include <stdio.h>
#include <string.h>

#include "omniconv/omniconv.h"

static int failures = 0;

static void expect(int good, const char* what) {
  if (good) return;
  printf("FAILED: %s; last error: %s\n", what, omniconv_last_error());
  ++failures;
}

static DLTensor tensor(float* data, int ndim, int64_t* shape) {
  DLTensor t = {0};
  t.data = data;
  t.device.device_type = kDLCPU;
  t.ndim = ndim;
  t.dtype.code = kDLFloat;
  t.dtype.bits = 32;
  t.dtype.lanes = 1;
  t.shape = shape;
  return t;
}

static void count(const omniconv_algorithm* algorithm, void* user) {
  printf("  %-12s %s\n", algorithm->name, algorithm->usable ? "usable" : algorithm->reason);
  ++*(int*)user;
}

int main(void) {
  /* (1 2 3 4) with the taps (1 10) and padding 1 is (10 21 32 43 4). */
  float x_data[] = {1, 2, 3, 4}, w_data[] = {1, 10}, y_data[5] = {0}, dx_data[4] = {0};
  const float expected[] = {10, 21, 32, 43, 4}, ones_back[] = {11, 11, 11, 11};
  int64_t x_shape[] = {1, 1, 4}, w_shape[] = {1, 1, 2}, y_shape[3] = {0};
  const DLTensor x = tensor(x_data, 3, x_shape), w = tensor(w_data, 3, w_shape), dx = tensor(dx_data, 3, x_shape);
  DLTensor y;
  omniconv_conv_options options;
  omniconv_conv_plan* plan = NULL;
  int threads = 0, algorithms = 0, i;
  char text[512];
  size_t size = sizeof text;

  printf("omniconv %s from C\n", omniconv_version());
  expect(strcmp(omniconv_version(), OMNICONV_VERSION) == 0, "headers and library are of one version");
  expect(omniconv_get_num_threads(&threads) == OMNICONV_OK && threads >= 1, "get_num_threads");
  expect(strcmp(omniconv_available_isas()[0], "scalar") == 0, "available_isas");

  expect(omniconv_conv_options_init(&options, sizeof options) == OMNICONV_OK, "options_init");
  options.pad_lo[0] = options.pad_hi[0] = 1;
  expect(omniconv_conv_output_shape(&x, &w, &options, y_shape) == OMNICONV_OK && y_shape[2] == 5, "output_shape");
  y = tensor(y_data, 3, y_shape);
  expect(omniconv_conv(&x, &w, NULL, NULL, NULL, &y, &options) == OMNICONV_OK, "conv");
  expect(memcmp(y_data, expected, sizeof expected) == 0, "result of conv");

  memset(y_data, 0, sizeof y_data);
  expect(omniconv_conv_plan_create(OMNICONV_CONV_FORWARD, &x, &w, &options, &plan) == OMNICONV_OK, "plan_create");
  expect(omniconv_conv_plan_pack(plan, &w) == OMNICONV_OK, "plan_pack");
  expect(omniconv_conv_plan_run(plan, &x, NULL, NULL, NULL, NULL, &y, NULL, 0) == OMNICONV_OK, "plan_run");
  expect(memcmp(y_data, expected, sizeof expected) == 0, "result of the plan");
  expect(omniconv_conv_plan_explain(plan, text, &size) == OMNICONV_OK && strstr(text, "conv1d forward"), "explain");
  omniconv_conv_plan_destroy(plan);

  for (i = 0; i < 5; ++i) y_data[i] = 1;
  expect(omniconv_conv_grad_input(&y, &w, NULL, NULL, NULL, &dx, &options) == OMNICONV_OK, "grad_input");
  expect(memcmp(dx_data, ones_back, sizeof ones_back) == 0, "result of grad_input");

  expect(omniconv_conv_algorithms(OMNICONV_CONV_FORWARD, &x, &w, NULL, count, &algorithms) == OMNICONV_OK &&
             algorithms >= 5,
         "algorithms");

  expect(omniconv_conv(&x, &w, NULL, NULL, NULL, &y, NULL) == OMNICONV_INVALID_ARGUMENT, "status of an error");
  expect(strcmp(omniconv_last_error(), "out has shape (1, 1, 5); expected is (1, 1, 3)") == 0, "message of an error");
  expect(omniconv_conv_plan_create((omniconv_conv_op)7, &x, &w, NULL, &plan) == OMNICONV_INVALID_ARGUMENT && !plan,
         "no such op");
  return failures;
}
