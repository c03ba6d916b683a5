# The two commands a newcomer needs: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# Tests wait more than they compute (docs/decisions/0010-tests-in-workers.md): 3 workers for two cores.
WORKERS ?= 3
DISTRIBUTED := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Tests start some hundreds of processes from these sources: they are compiled once, whatever the caller's environment says.
unexport PYTHONDONTWRITEBYTECODE
STAMP  := $(VENV)/.installed

.PHONY: help setup run lint check test unit chaos bench alerts kubernetes image pictures docs lock clean
.DEFAULT_GOAL := help

help:            ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 10

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Hookline needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: its module ensurepip is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@test -x $(BIN)/python || { echo "creating a virtual environment in $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "installing pinned packages into $(VENV) (a minute or so the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP)  ## create the virtual environment and install pinned packages

run: setup       ## start everything: Kafka, PostgreSQL, Hookline, a demo subscription
	@$(BIN)/hookline up

lint: setup      ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint unit ## all that needs no services: format, lint, types, layers, unit tests

unit: setup      ## unit tests only
	$(BIN)/pytest $(DISTRIBUTED) tests/unit -q

test: setup      ## all tests on real Kafka, PostgreSQL and processes, with the short form of every fault; WORKERS=3
	@$(BIN)/pytest $(DISTRIBUTED) 2>&1

KILLS ?= 50

chaos: setup     ## the long form of every fault (hours): tests/chaos, and KILLS=50 kills at each named point
	@HOOKLINE_TEST_KILLS=$(KILLS) $(BIN)/pytest -o faulthandler_timeout=0 tests/chaos tests/integration/deliver/test_kills.py 2>&1

BENCH ?= end-to-end saturation ingest sick-endpoints
REAL_PAYLOADS := $(wildcard ../shared/data/github-webhooks.jsonl)

bench: setup     ## measure; BENCH="--all" or "saturation --duration 60" for others (`hookline bench --list`)
	@$(BIN)/hookline bench $(BENCH) --out bench-results $(if $(REAL_PAYLOADS),--payloads $(REAL_PAYLOADS))

alerts:          ## check Prometheus' rules and run their tests (fetches promtool where it is missing)
	@ops/prometheus/check

kubernetes:      ## render the Helm chart, compare with ops/kubernetes/rendered, check schemas (needs helm or Go)
	@ops/kubernetes/check

image: setup     ## build the image with buildah and run its four processes in containers (needs root and Debian's buildah, debootstrap)
	@ops/docker/check

pictures: setup  ## draw the dashboards in docs/pictures again, from a run of LOAD_S=240 seconds (fetches Prometheus and matplotlib)
	@ops/grafana/pictures

docs: setup      ## write docs/settings.md, docs/topics.md, the client and the dashboards again, and build the documentation as a site
	$(BIN)/python docs/reference.py
	$(BIN)/python docs/client.py
	$(BIN)/python ops/grafana/generate.py
	$(BIN)/python docs/build_site.py site >/dev/null && echo "the documentation is in site/index.html"

lock:            ## pin again: needs `uv`; writes requirements/*.txt with hashes and without addresses
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet pyproject.toml -o requirements/run.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet --all-extras pyproject.toml requirements/dev.in -o requirements/dev.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet requirements/pictures.in -o requirements/pictures.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet requirements/tracing.in -c requirements/dev.txt -o requirements/tracing.txt

clean:           ## remove the virtual environment and caches (keeps .hookline, the data of `make run`)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
