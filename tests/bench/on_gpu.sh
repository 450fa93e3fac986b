#!/usr/bin/env bash
# What the publication's sizes cost on a GPU of 80 GiB or more, and whether it computes as it should: all parts, or
# those that are named. Needs no Ray.
#   [PYTHON=python3] tests/bench/on_gpu.sh [check] [sample] [compiled] [label] [fit] [unit] [quality] [input]
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
bench() { echo; echo "\$ $*"; "$python" tests/bench/"$@"; }

[ $# -gt 0 ] || set -- check sample compiled label fit unit quality input
for part in "$@"; do
    case $part in
    check) "$python" -m pytest -v -p no:cacheprovider tests/test_on_gpu.py ;;
    sample)
        bench bench_sample.py --published --dtype bfloat16 --batch 8 16 32 64 --steps 3 --rounds 2
        bench bench_sample.py --dtype bfloat16 --batch 64 --steps 20
        ;;
    compiled)
        bench bench_sample.py --published --dtype bfloat16 --batch 32 --steps 3 --rounds 2 --compile default
        bench bench_sample.py --dtype bfloat16 --batch 64 --steps 20 --compile reduce-overhead
        ;;
    label)
        bench bench_label.py --whole --network bfloat16 --images 4 --profile
        bench bench_label.py --whole --network bfloat16 --images 4 --dtype bfloat16
        ;;
    fit)
        bench bench_fit.py --published --images 30 --network bfloat16
        bench bench_fit.py --plain-members 1
        ;;
    unit)
        bench bench_unit.py --published --dtype bfloat16 --unit 64 --batch 32 --rounds 1
        bench bench_unit.py --dtype bfloat16 --unit 2048 --batch 1024
        bench bench_unit.py --published --dtype bfloat16 --unit 64 --batch 32 --rounds 1 --compile default
        ;;
    quality) bench bench_precision.py --images 120 ;;
    input) bench bench_input.py --batch 32 --steps 50 ;;
    *)
        echo "$part is no part; see the head of $0" >&2
        exit 2
        ;;
    esac
done
