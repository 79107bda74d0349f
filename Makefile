# Everything runs in .venv, which the first call makes. Needs Python 3.11 or later and make; nothing else.
PYTHON ?= python3
PYTEST_ARGS ?=
FUZZ_MINUTES ?= 2
# The version that the tests are known to pass with; any torch that pyproject.toml allows will do.
TORCH ?= 2.13.0
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast fuzz lint docs build wheel-check clean distclean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed ## From simulated cells to a network, its picture and an edge table in demo/
	$(BIN)/scgrn-tl demo --out demo

test: $(VENV)/.installed ## All tests, the slow ones too, on up to four cores
	$(BIN)/python -m pytest -m "not fuzz" -n auto --maxprocesses 4 $(PYTEST_ARGS)

test-fast: $(VENV)/.installed ## The fast tests alone
	$(BIN)/python -m pytest $(PYTEST_ARGS)

fuzz: $(VENV)/.installed ## Random matrices, priors, damaged files and arguments, for FUZZ_MINUTES (2) a kind of file
	$(BIN)/python -m pytest -m fuzz --fuzz-minutes $(FUZZ_MINUTES) $(PYTEST_ARGS)
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest tests/test_properties.py tests/test_pooling.py tests/test_core_tokens.py tests/test_splits.py tests/test_metrics.py tests/test_prior_network.py --fuzz-minutes $(FUZZ_MINUTES) $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs ## The documentation, in docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_site.py docs/_build/html

build: $(VENV)/.installed-dev ## sdist and wheel, in dist/
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

wheel-check: build ## The wheel in a fresh environment: commands, code and tutorials of all pages (half an hour)
	@set -e; unset PYTHONPATH; new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; \
	  $(BIN)/python -m venv "$$new"; \
	  pip="$$new/bin/python -m pip --disable-pip-version-check --quiet"; \
	  echo "Installing the wheel into $$new"; \
	  $(call install-torch,$$pip); \
	  $$pip install "$$(echo dist/*.whl)[test]" ipykernel nbclient; \
	  "$$new/bin/python" tests/check_wheel.py dist/*.tar.gz

clean: ## Remove what was built and cached, but not .venv
	rm -rf build dist demo docs/_build docs/generated docs/tutorials .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove .venv as well
	rm -rf $(VENV)

# torch goes first: once a CPU build is there, nothing below asks for the CUDA one. A local version (+cpu) matches CPU
# builds alone, whichever index holds them; what torch itself needs comes with the last step. macOS builds have no CUDA
# and no such suffix.
define install-torch
if [ "$$(uname -s)" = Linux ] && ! nvidia-smi -L >/dev/null 2>&1; then \
    $(1) install --no-deps --retries 2 --timeout 15 --extra-index-url $(TORCH_CPU_INDEX) "torch==$(TORCH)+cpu" || { \
      echo "No CPU build of torch $(TORCH) can be had; taking the default build, which may bring CUDA." >&2; \
      $(1) install "torch==$(TORCH)" || $(1) install torch; }; \
  else \
    $(1) install torch; \
  fi
endef

$(VENV)/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "$(PYTHON) was not found. Name a Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "scgrn_tl needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV); the first time takes some minutes."
	@$(PIP) install --upgrade pip
	@$(call install-torch,$(PIP))
	@$(PIP) install -e ".[test]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) install -e ".[dev,test]"
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@$(PIP) install -e ".[docs,test]"
	@touch $@
