# Every target does the set-up that it needs: only python3.11, gcc, cmake, make and a package index are taken for granted.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
JOBS ?= $(shell nproc)
export TF_CPP_MIN_LOG_LEVEL ?= 2
export TF_ENABLE_ONEDNN_OPTS ?= 0

CMAKE := $(BIN)/cmake
CMAKE_FLAGS = -DPython_EXECUTABLE=$(abspath $(PY)) -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja
CPP_SOURCES = $(shell git ls-files 'cpp/*.cc' 'cpp/*.h')

# Debian packages that are unpacked into build/, unless they are installed: sources of GoogleTest; clang with libFuzzer.
GOOGLETEST := $(if $(wildcard /usr/src/googletest/CMakeLists.txt),,build/tools/googletest)
CLANG := $(if $(shell command -v clang++),,build/tools/clang)
# Chromium and a font, where apt is there: the tests that look at pages are skipped without.
CHROMIUM := $(if $(shell command -v chromium || command -v chromium-browser || command -v google-chrome),,$(if $(shell command -v apt-get),build/tools/chromium))

# The package's own requirements; the rest are the dependency groups of pyproject.toml.
REQUIREMENTS = $(PY) -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	print(*p['dependencies'], *p['optional-dependencies']['tensorflow'], sep='\n')"

.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-only test-cpp test-wheel test-asan test-tsan test-tsan-cpp fuzz check lint types generated format bench clean

help: ## show the targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/.stamp ## make the virtual environment

$(VENV)/.stamp: pyproject.toml Makefile
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	$(REQUIREMENTS) > $(VENV)/requirements.txt
	$(PY) -m pip install --quiet --group dev --requirement $(VENV)/requirements.txt
	@# The source tree itself is the installed package; build adds the compiled parts to it.
	$(PY) -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), 'mexport_pb.pth').write_text('$(CURDIR)\n')"
	@touch $@

build: setup ## compile proto/ and cpp/ into the source tree
	@mkdir -p build
	@$(CMAKE) --preset default $(CMAKE_FLAGS) -DMEXPORT_BUILD_TESTS=OFF > build/configure.log 2>&1 || (cat build/configure.log; exit 1)
	@$(CMAKE) --build --preset default -j $(JOBS)
	@$(CMAKE) --install build/default --prefix . > /dev/null

demo: build ## train small models, export them in several ways, compare with the training graphs and TensorFlow's own export
	@$(PY) -m demo

test: build test-only ## all tests, TensorFlow as the oracle included

# A file's tests stay together: they share what is dear to make.
test-only: | $(CHROMIUM)
	@$(PY) -m pytest -n $(JOBS) --dist loadfile

test-wheel: setup ## build the wheel and use it in a fresh environment without TensorFlow, on the newest protobuf
	@$(PY) scripts/test_wheel.py

test-cpp: setup | $(GOOGLETEST) ## the tests of cpp/core
	@mkdir -p build
	@$(CMAKE) --preset default $(CMAKE_FLAGS) -DMEXPORT_BUILD_TESTS=ON > build/configure.log 2>&1 || (cat build/configure.log; exit 1)
	@$(CMAKE) --build --preset default --target mexport_tests -j $(JOBS)
	@$(BIN)/ctest --preset default -j $(JOBS)

# The C++ tests, and the Python tests of the compiled rooms against a module built with a sanitizer.
test-asan test-tsan: test-%: build | $(GOOGLETEST)
	@$(PY) scripts/test_sanitized.py $*

test-tsan-cpp: setup | $(GOOGLETEST)
	@$(PY) scripts/test_sanitized.py tsan --cpp-only

fuzz: build | $(CLANG) ## a short run of the fuzzers; FUZZ_SECONDS=600 FUZZ_FLAGS=--keep for a long one
	@$(PY) scripts/fuzz.py --seconds $(or $(FUZZ_SECONDS),20) $(FUZZ_FLAGS)

build/tools/googletest:
	@scripts/fetch_debian.sh $@ googletest

build/tools/clang:
	@scripts/fetch_debian.sh $@ clang libclang-rt-@-dev

build/tools/chromium:
	@scripts/fetch_debian.sh $@ chromium fonts-dejavu-core || echo "tests that need a browser are skipped"

lint: setup ## ruff and clang-format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/clang-format --dry-run --Werror $(CPP_SOURCES)

types: build ## mypy --strict; do the stubs of _core fit the module?
	@$(BIN)/mypy -p mexport_pb -p demo
	@$(PY) -m mypy.stubtest mexport_pb._core --mypy-config-file pyproject.toml --allowlist scripts/stubtest_allowlist.txt

generated: build ## are the generated files what their sources make?
	@$(PY) scripts/generate_op_defs.py --check
	@$(PY) scripts/make_fuzz_seeds.py --check
	@$(PY) tests/golden/regen.py --check

# The C++ tests run with each sanitizer; test-cpp, without one, would only run them a third time.
check: lint types generated test test-asan test-tsan-cpp fuzz test-wheel ## all that continuous integration runs

format: setup ## rewrite the sources in the house format
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(CPP_SOURCES)

bench: build ## all benchmarks, rivals in the same run
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(PY) $$file || exit 1; done

clean: ## remove what build made, the virtual environment excepted
	rm -rf build mexport_pb/_proto mexport_pb/_core.*.so mexport_pb/runtime/_table_ops.*.so
