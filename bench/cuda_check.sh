#!/usr/bin/env bash
# bench/cuda_check.sh -- everything that needs a GPU, in one call: build, tests, fragments, sanitizer, timings.
#
#   bench/cuda_check.sh [--dry-run]
#
# Needs an NVIDIA GPU of compute capability 8.0 or newer with driver R580 or newer, nvcc 13 (a toolkit, or
# `pip install --group cuda`), a C++ compiler, CMake, Ninja, and Python with nanobind, NumPy, pytest, hypothesis, SciPy and
# a PyTorch for CUDA. Results: bench/results/cuda_check-<GPU>-<date>.json and .md. Each step has a limit, so that all of it
# ends within ten minutes; a step that fails is reported and the next one goes on.
# --dry-run: the same steps on the emulator, at sizes of a few pixels: that the script works, nothing about speed.
set -uo pipefail
cd "$(dirname "$0")/.."

dry=
[[ ${1:-} == --dry-run ]] && dry=1
build=build/cuda_check
python=${PYTHON:-python3}
results=${RESULTS:-bench/results}
mkdir -p "$results" "$build"
report=$build/steps.txt
: >"$report"

# step <limit in seconds> <name> <command...>: the command may be a function of this file that was exported.
step() {
  local limit=$1 name=$2 began=$SECONDS status=ok
  shift 2
  printf '\n==== %s ====\n' "$name"
  timeout "$limit" bash -uo pipefail -c '"$@"' "$name" "$@" || status="failed ($?)"
  printf '%s\t%d\t%s\n' "$name" $((SECONDS - began)) "$status" | tee -a "$report"
}

if [[ $dry ]]; then
  export OMNICONV_DEVICE=emu
else
  nvidia-smi || { echo "no NVIDIA driver answers" >&2; exit 1; }
fi
export dry build python

compile() {
  local cuda=ON
  [[ -z $dry ]] || cuda=OFF
  cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DOMNICONV_BUILD_PYTHON=ON -DOMNICONV_CCACHE=ON \
    "-DPython_EXECUTABLE=$(command -v "$python")" -DOMNICONV_BUILD_EMULATOR=ON "-DOMNICONV_CUDA=$cuda" \
    "-DOMNICONV_CUDA_ARCHITECTURES=${ARCHITECTURES:-80-real;90a-real;100-virtual}" &&
    cmake --build "$build" --parallel "$(nproc)"
}

export -f compile
step "${BUILD_LIMIT:-300}" build compile
export OMNICONV_PLUGIN_PATH=$PWD/$build PYTHONPATH=python

# Small integers through mma and ldmatrix: every element of every fragment, bit for bit.
fragments() {
  if [[ $dry ]]; then
    "$build/cuda/check_fragments"
  else
    local nvcc
    nvcc=$(sed -n 's/.* \(\S*nvcc\) -std=.*/\1/p' "$build/build.ninja" | head -1)
    "$nvcc" -std=c++20 -arch=native -Icuda -Icpp -Icpp/include cuda/check/fragments.cu -o "$build/check_fragments" &&
      "$build/check_fragments"
  fi
}
export -f fragments
step 60 fragments fragments
step 120 tests "$python" -m pytest -q bench/cuda/test_cuda.py

sanitize() {
  local tool
  tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) || {
    echo "compute-sanitizer is not installed: skipped"
    return 0
  }
  local check
  for check in memcheck racecheck synccheck; do
    "$tool" --tool "$check" --error-exitcode 9 "$python" -m bench.cuda.smoke || return
  done
}
export -f sanitize
if [[ $dry ]]; then step 60 smoke "$python" -m bench.cuda.smoke; else step 120 compute-sanitizer sanitize; fi

step 240 timings "$python" -m bench.cuda.race --steps "$report" --results "$results" ${dry:+--dry-run}
! grep -q failed "$report"
