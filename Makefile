# `make demo` and `make test` need nothing but Python 3.11 or newer; both make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   the whole pipeline on the shipped domain, at most 6 minutes on 2 cores"
	@echo "make test   tests, lint and types"

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

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint
	$(BIN)/pytest

clean:
	rm -rf .venv runs build *.egg-info
