# `make demo` and `make test` need nothing but Python 3.11 or newer; both make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test tests lint style types bench bench-gpu soak clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   the whole pipeline on the shipped domain, about 5 minutes on 2 cores"
	@echo "make test   tests, lint and types"
	@echo "make bench  the benchmarks at a size for a few CPU cores; make bench-gpu: at the published size on a GPU"
	@echo "make soak   20 minutes of kills at random moments, with the dataset compared after each"

.venv/installed: pyproject.toml Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,demo-data,onnx]'
	touch $@

demo: .venv/installed
	$(BIN)/datasetddpm demo

style: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-dev
	$(BIN)/pyright

lint: style types

# Many tests wait for processes of their own, so there are more workers than cores, of a thread each; the types are
# checked beside them.
tests: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder --durations 10

test: style
	$(MAKE) --no-print-directory --jobs 2 types tests

soak: .venv/installed-dev
	$(BIN)/python tests/soak.py --minutes 20

bench: .venv/installed-dev
	$(BIN)/python tests/bench/bench_sample.py
	$(BIN)/python tests/bench/bench_label.py --rounds 1
	$(BIN)/python tests/bench/bench_fit.py
	$(BIN)/python tests/bench/bench_unit.py --unit 20 --rounds 1
	$(BIN)/python tests/bench/bench_input.py

bench-gpu: .venv/installed-dev
	tests/bench/on_gpu.sh

clean:
	rm -rf .venv runs build *.egg-info
