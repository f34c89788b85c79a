# make setup | run | test | bench | lock: each does everything it needs, from a fresh clone.
# Needs: Python >= 3.11, a C++ compiler, and network to the Python registry (the first time only).
PYTHON ?= python3
PROFILE ?= demo
BIN := .venv/bin

.PHONY: setup run test bench lock clean

setup: .venv/.ready

# uv installs what requirements.lock pins, hashes checked; pip installs nothing but uv.
.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'm5utils needs Python >= 3.11, got ' + sys.version.split()[0])"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --quiet requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	touch $@
