# One virtual environment, .venv, that grows as targets need more: first the light part (records,
# command line, site), then torch and the lab, then what the tests need. `make help` lists targets.

PYTHON ?= python3
TORCH ?= torch==2.13.0
# Where the build of torch without CUDA (a tenth of the size) is looked for. Not reachable: pip
# takes torch from where it takes everything else.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PYTEST_ARGS ?=
# Which tests: the quick tier, or the slow one (make test-slow: fuzzing, killed runs, two processes).
TIER ?= not slow
PORT ?= 8000

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
# Stamps: a step is repeated when pyproject.toml changed, or TORCH is another one.
LIGHT := .venv/.light
TRAIN := .venv/.train-$(shell printf '%s' '$(TORCH)' | tr -c 'A-Za-z0-9.\n' '-')
TEST := .venv/.test
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable
HAS_BROWSER := { { for name in $(BROWSERS); do command -v $$name; done; } | grep -q .; }

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow serve site screenshots bench-kb bench-train bench-gpu lint clean browser
.DELETE_ON_ERROR:

help:
	@echo "make demo    all of it once: check the records, query them, build the site, train mDPO"
	@echo "make test    install what is missing and run the tests (PYTEST_ARGS='tests/kb -x')"
	@echo "make test-slow    the slow tier: fuzzing, killed runs, several processes"
	@echo "make setup   .venv with the command line and the site builder, without torch"
	@echo "make site    build the site into site/"
	@echo "make serve   show the site at http://127.0.0.1:$(PORT)/ (PORT=...)"
	@echo "make screenshots    pictures of the site and its card, into docs/assets/"
	@echo "make bench-train    CPU time of our DPO step against TRL's, same log-probs"
	@echo "make bench-gpu    the same on one GPU at the sizes of 3B and 7B models, in 8 minutes"
	@echo "make bench-kb    how quick records, command line and site are, against their targets"
	@echo "make lint    ruff (check and format) and mypy"
	@echo "make clean   remove .venv, site/ and caches; runs/ stays"
	@echo "Variables: PYTHON=$(PYTHON)  TORCH=$(TORCH)"

setup: $(LIGHT)
	@echo "ready: $(BIN)/mmalign --help"

# One recipe with steps in a row, so that -j cannot mix them up.
demo:
	@echo "[1/6] Installing the command line and the site builder into .venv"
	@$(MAKE) -s --no-print-directory $(LIGHT)
	@echo "[2/6] Checking the records: mmalign validate"
	@$(BIN)/mmalign validate
	@echo
	@echo "[3/6] Methods against hallucination without human annotation, with public code:"
	@echo "      mmalign query --scenario hallucination --annotation '!human' --has code"
	@$(BIN)/mmalign query --scenario hallucination --annotation '!human' --has code
	@echo
	@echo "      The best matches for two words: mmalign query image preference --limit 5"
	@$(BIN)/mmalign query image preference --limit 5
	@echo
	@echo "[4/6] Building the site, strictly: mmalign site build"
	@$(BIN)/mmalign site build
	@echo
	@echo "[5/6] Installing $(TORCH) and the training libraries (the longest download)"
	@$(MAKE) -s --no-print-directory $(TRAIN)
	@echo
	@echo "[6/6] Training mDPO beside its baselines on the CPU: mmalign run mdpo"
	@$(BIN)/mmalign run mdpo
	@echo
	@echo "Done. To look at the site: make serve, then open http://127.0.0.1:$(PORT)/"

test:
	@echo "[1/3] Installing what the tests need"
	@$(MAKE) -s --no-print-directory $(TEST)
	@echo "[2/3] Looking for a browser"
	@$(MAKE) -s --no-print-directory browser
	@echo "[3/3] Running the tests"
	@if $(HAS_BROWSER); then $(BIN)/python -m pytest -q -m "$(TIER)" $(PYTEST_ARGS); \
	else $(BIN)/python -m pytest -q -m "($(TIER)) and not browser" $(PYTEST_ARGS); fi

test-slow:
	@$(MAKE) -s --no-print-directory test TIER=slow

serve: $(LIGHT)
	@$(BIN)/mmalign site serve --port $(PORT)

site: $(LIGHT)
	@$(BIN)/mmalign site build

screenshots: $(TEST) browser
	@$(BIN)/python tools/screenshots.py

bench-kb: $(LIGHT)
	@$(BIN)/python tools/bench_kb.py

bench-train: $(TRAIN)
	@$(BIN)/python -W ignore tools/bench_train.py

# The processor of its models is the tests', which needs no more than the training libraries.
bench-gpu: $(TRAIN)
	@$(BIN)/python -W ignore tools/bench_gpu.py

lint: $(TEST)
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy

clean:
	rm -rf .venv site build dist .pytest_cache .ruff_cache
	find tools reference_impls tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- steps ---------------------------------------------------------------------------------------

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: there is no $(PYTHON); name a Python of 3.10 or later with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "error: $(PYTHON) is older than 3.10; name another one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot make virtual environments; on Debian or Ubuntu:" >&2; \
	  echo "  apt-get install python3-venv" >&2; exit 1; }
	@echo "making .venv"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

$(LIGHT): pyproject.toml | $(BIN)/python
	@echo "installing the command line and the site builder"
	@$(PIP) -qq --editable '.[site]'
	@touch $@

# torch comes first: installed by the extra, it could be a build of several GB with CUDA.
$(TRAIN): pyproject.toml | $(LIGHT)
	@if $(BIN)/python -c "import urllib.request as r; r.urlopen('$(TORCH_INDEX)/torch/', timeout=5)" \
	  2>/dev/null; then $(PIP) --extra-index-url $(TORCH_INDEX) '$(TORCH)'; \
	else $(PIP) '$(TORCH)'; fi
	@$(PIP) --editable '.[site,train]'
	@touch $@

$(TEST): pyproject.toml | $(TRAIN)
	@echo "installing the test tools"
	@$(PIP) -qq --editable '.[site,train,dev]'
	@touch $@

# A browser for the tests of the site. Without one they are left out, but not in CI.
browser:
	@$(HAS_BROWSER) && exit 0; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  echo "installing chromium"; export DEBIAN_FRONTEND=noninteractive; \
	  apt-get install -y -q chromium >/dev/null || \
	  { apt-get update -q >/dev/null && apt-get install -y -q chromium >/dev/null; }; \
	fi; \
	$(HAS_BROWSER) && exit 0; \
	echo "no Chromium was found: install it (Debian: apt-get install chromium) or put it on PATH." >&2; \
	[ -z "$$CI" ] || exit 1; \
	echo "The tests in a browser are left out." >&2
