# make setup | run | report | site | test | bench | lock | clean: each does everything it needs, from a fresh clone.
# Needs: Python >= 3.11, a C++ compiler, and network to the Python registry (the first time only).
PYTHON ?= python3
PROFILE ?= demo
BIN := .venv/bin

PROFILE_RESULTS := $(if $(filter demo,$(PROFILE)),run)

.PHONY: setup run report site test bench lock clean

setup: .venv/.ready

# uv installs what requirements.lock pins, hashes checked; pip installs nothing but uv. Compiled once, because
# every notebook starts processes that import torch: seconds each where PYTHONDONTWRITEBYTECODE is set. UMAP
# compiles itself at its first import.
.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'm5utils needs Python >= 3.11, got ' + sys.version.split()[0])"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode --quiet requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/python -W ignore -c "import umap"
	touch $@

# All notebooks, what is stale of them: figures/$(PROFILE), report/generated/$(PROFILE).
run: setup
	$(BIN)/m5 run --profile $(PROFILE)

# The paper and the slides as PDF, build/report/$(PROFILE), from what was run; needs LaTeX, and says what to install.
# PROFILE=lab: from the committed results. DIFF=<git revision>: also main_diff.pdf, what changed since then.
# ALLOW_STALE=1: warn where results are stale, instead of stopping. The drawn world is run first.
report: setup $(PROFILE_RESULTS)
	$(BIN)/m5 report --profile $(PROFILE) $(if $(DIFF),--diff $(DIFF)) $(if $(ALLOW_STALE),--allow-stale)

# The executed notebooks as web pages, an index and the explorer: build/site, one folder that can be sent on.
site: run
	$(BIN)/m5 site --profile $(PROFILE)

# Fast first, in two processes; the slow part runs every notebook on the drawn world twice. Ends with what was checked.
test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal --junitxml=build/tests/fast.xml
	$(BIN)/python -m pytest -m slow --junitxml=build/tests/slow.xml
	$(BIN)/python tests/checked.py build/tests/fast.xml build/tests/slow.xml

# Speed and memory as ratios within one process: a table, and report/generated/bench.json.
bench: setup
	$(BIN)/python -m tests.benchmarks

# Pin the newest versions that pyproject.toml allows; then put the versions into environment.yml (a test tells).
lock:
	test -x $(BIN)/uv || $(MAKE) setup
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet --output-file requirements.lock

# What can be made again; .venv stays.
clean:
	rm -rf build data/demo data/cache figures/demo report/generated/demo
