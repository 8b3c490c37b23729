# make run     start the whole service on this machine          make test    everything, as CI does
# make check   format, lint, types, fast tests: under a minute  make bench   the benchmarks
# make chaos   the tests that kill processes, with more rows, jobs and kills: a quarter of an hour
# make docs    write the generated tables of docs/ from the code
# make lock    recompile ops/constraints.txt (UPGRADE=1: to the newest versions)
# make dist    both wheels, into dist/                       make sbom    a bill of materials, into dist/
# make bench-million   a batch of a million rows: memory, Redis, objects; some minutes
# make bench-quality   quality of few-shot, scores and languages: tables, and plots into docs/explanation/
#                      (reads ../shared/data)
#
# make clients      makes clients of the API by four generators, and uses them; needs Node and Java
# make pages        looks at the pages in a real browser; needs Chromium
# make screenshots  the same, and writes the screenshots of docs/images
#
# PYTHON=python3.12   the interpreter to build .venv with
# TORCH=cpu           the build of torch: cpu, cu126, …; chosen by ops/torch_build.py if not set

PYTHON ?= python3
TORCH ?=
UV_VERSION := 0.13.8
SBOM_VERSION := 7.5.0

VENV := .venv
BIN := $(VENV)/bin
PINS := pyproject.toml api/client/pyproject.toml ops/constraints.txt
# A stamp says what was installed, so that the second `make run` starts at once.
RUN_STAMP := $(VENV)/.run$(addprefix -,$(TORCH))
DEV_STAMP := $(VENV)/.dev$(addprefix -,$(TORCH))
TORCH_BUILD = $(if $(TORCH),--torch-backend $(TORCH),$$($(BIN)/python ops/torch_build.py $(BIN)/uv ops/constraints.txt))
INSTALL = $(BIN)/uv pip install --python $(BIN)/python $(TORCH_BUILD) -c ops/constraints.txt
# What is compiled is kept, whatever the caller's shell says: it halves the time to collect the tests.
unexport PYTHONDONTWRITEBYTECODE
# The modules whose docstrings hold examples; the others need not be imported to look for some.
EXAMPLES = $(shell grep -rl --include=*.py '>>> ' api ops shared workers)
FAST := not integration and not chaos and not slow
REST := (integration or chaos or slow) and not clients and not pages

.PHONY: run setup check test chaos bench bench-million bench-quality clients pages screenshots docs lock dist sbom

run: $(RUN_STAMP)
	@exec $(BIN)/python -m ops.launcher

setup: $(DEV_STAMP)

check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -n auto -m "$(FAST)" --doctest-modules $(EXAMPLES) tests

# What starts or kills processes waits for most of its time, and what is slow computes: side by side.
# A file stays on one process, for its tests share a service or a model (tests/conftest.py).
# What compares times runs alone.
test: check
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -n auto --dist loadfile -m "$(REST) and not timed" tests
	$(BIN)/python -m pytest -m timed tests

# Two rounds take about 15 minutes on 2 idle cores.
chaos: $(DEV_STAMP)
	PIGEONHOLE_CHAOS_ROUNDS=$(or $(ROUNDS),2) $(BIN)/python -m pytest -m chaos tests/chaos

bench: $(DEV_STAMP)
	$(BIN)/python -m ops.bench

bench-million: $(DEV_STAMP)
	$(BIN)/python -m ops.bench.million

bench-quality: $(DEV_STAMP)
	$(BIN)/python -m ops.bench.quality --data ../shared/data --docs docs/explanation
	$(BIN)/python -m ops.bench.quality_subsets --data ../shared/data
	$(BIN)/python -m ops.bench.quality_calibration --data ../shared/data
	$(BIN)/python -m ops.bench.time_lapse --data ../shared/data --docs docs/explanation
	$(BIN)/python -m ops.bench.promotion_policies --data ../shared/data
	$(BIN)/python -m ops.bench.languages --data ../shared/data
	$(BIN)/python -m ops.bench.int8 --data ../shared/data

clients: $(DEV_STAMP)
	@for each in node npm java; do command -v $$each >/dev/null || { echo \
	  "make clients needs Node 20 with npm, and Java 11, and here is no '$$each'; on Debian: apt-get install nodejs npm default-jre-headless" >&2; exit 1; }; done
	$(BIN)/python -m pytest -m clients tests/clients

pages: $(DEV_STAMP)
	$(BIN)/python -m pytest -m pages tests/pages

screenshots: $(DEV_STAMP)
	SCREENSHOTS=1 $(BIN)/python -m pytest -m pages tests/pages

docs: $(DEV_STAMP)
	$(BIN)/python -m ops.docs

dist: $(BIN)/uv
	$(BIN)/uv build --wheel --quiet --out-dir dist .
	$(BIN)/uv build --wheel --quiet --out-dir dist api/client

# Of what is installed: run it where the service runs, or in an image of it.
sbom: $(RUN_STAMP)
	@mkdir -p dist
	$(BIN)/uv tool run --from cyclonedx-bom==$(SBOM_VERSION) cyclonedx-py environment \
	  --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.json $(BIN)/python

lock: $(BIN)/uv
	$(BIN)/uv pip compile pyproject.toml api/client/pyproject.toml --all-extras --universal --python-version 3.11 \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  $(if $(UPGRADE),--upgrade) --output-file ops/constraints.txt --quiet

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "Pigeonhole needs Python 3.11 or newer; say: make PYTHON=python3.12 (or where yours is)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo \
	  "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(RUN_STAMP): $(PINS) | $(BIN)/uv
	$(INSTALL) -e '.[api,worker,local]' -e api/client
	@touch $@

$(DEV_STAMP): $(PINS) | $(BIN)/uv
	$(INSTALL) -e '.[api,worker,local,dev]' -e api/client
	@touch $@ $(RUN_STAMP)
