#!/usr/bin/env bash
# Fuzz every reader of strangers' bytes: fuzz/run.sh [EXECUTIONS-EACH [TARGET...]]. Needs cargo-fuzz.
#
# SANITIZER is one that cargo-fuzz knows. By default there is none: the readers are safe Rust, and what is looked for is panics,
# hangs and memory.
set -euo pipefail
cd "$(dirname "$0")"
export LIBTORCH=${LIBTORCH:-$PWD/../.libtorch/torch}
# The host links libtorch, though nothing that is fuzzed calls it.
export LD_LIBRARY_PATH=$LIBTORCH/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
executions=${1:-1200000}
sanitizer=${SANITIZER:-none}
# Without a nightly compiler the stable one takes the flags that libFuzzer needs.
fuzz=(cargo +nightly fuzz)
if ! cargo +nightly --version > /dev/null 2>&1; then
  export RUSTC_BOOTSTRAP=1
  fuzz=(cargo fuzz)
fi
# The versions of the workspace, as what is fuzzed is what is shipped.
[ -f Cargo.lock ] || cp ../Cargo.lock Cargo.lock
targets=(manifest script package lock trust frames learner recording library config labels pickle npy npz parquet safetensors idx csv paths image tar zip torchscript)
[ $# -lt 2 ] || targets=("${@:2}")
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target"
  seeds=("seeds/$target")
  [ "$target" != config ] || seeds+=(../configs)
  "${fuzz[@]}" run --sanitizer "$sanitizer" "$target" "corpus/$target" "${seeds[@]}" -- \
    -runs="$executions" -max_len=65536 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 > "corpus/$target.log" 2>&1 ||
    { tail -n 30 "corpus/$target.log"; echo "$target: failed, see corpus/$target.log"; exit 1; }
  echo "$target: $(grep -o 'number_of_executed_units: *[0-9]*' "corpus/$target.log")"
done
