# Every target does the set-up that it needs: only python3.11, gcc, cmake, make and a package index are taken for granted.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
JOBS ?= $(shell nproc)
export TF_CPP_MIN_LOG_LEVEL ?= 2

# The package's own requirements; the rest are the dependency groups of pyproject.toml.
REQUIREMENTS := $(PY) -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	print(*p['dependencies'], *p['optional-dependencies']['tensorflow'], sep='\n')"

.DEFAULT_GOAL := help
.PHONY: help setup build

help: ## show the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/.stamp ## make the virtual environment

$(VENV)/.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	$(REQUIREMENTS) > $(VENV)/requirements.txt
	$(PY) -m pip install --quiet --group dev --requirement $(VENV)/requirements.txt
	@touch $@

build: setup ## compile proto/ and cpp/ into the source tree
	@mkdir -p build
	@$(BIN)/cmake --preset default -DPython_EXECUTABLE=$(abspath $(PY)) -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
		> build/configure.log 2>&1 || (cat build/configure.log; exit 1)
	@$(BIN)/cmake --build --preset default -j $(JOBS)
	@$(BIN)/cmake --install build/default --prefix . > /dev/null
