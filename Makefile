# tocsin: everything a developer does. Needs make and python3 (3.11 or later), nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ARGS   ?=
# Tests run in so many processes; each has its own broker.
JOBS   ?= 3
TIMES  ?= 20
PYTEST  = $(BIN)/python -m pytest -n $(JOBS) --dist loadscope

# Where it is set, each start of tocsin in a test compiles all of Python's modules again: twice the CPU time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test fuzz soak test-integrations lint format bench docs site audit sbom venv servers clean

help: ## list the targets
	@echo "make TARGET [ARGS='…']"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(READY) ## run tocsin here with a demo (tocsin up --demo)
	$(BIN)/tocsin up --demo $(ARGS)

test: $(READY) ## run all tests; ARGS go to pytest, e.g. ARGS='tests/unit -k kql'
	@$(BIN)/python -m tests.servers.fetch
	$(PYTEST) $(ARGS)

fuzz: $(READY) ## all tests in random order, properties with random examples, TIMES=20 times as many as in `make test`
	@$(BIN)/python -m tests.servers.fetch
	TOCSIN_EXAMPLES_TIMES=$(TIMES) $(PYTEST) --hypothesis-profile=fuzz --timeout=0 $(ARGS)

soak: $(READY) ## long runs and series of kills
	@$(BIN)/python -m tests.servers.fetch
	$(PYTEST) -m soak --timeout=0 $(ARGS)

test-integrations: $(READY) ## tests with MLflow, Airflow, Keras, Lightning and Transformers, in an environment of their own (downloads 3 GB)
	$(BIN)/uv run --isolated --frozen --group integrations --python $(BIN)/python python -m pytest -m integrations $(ARGS)

lint: $(READY) ## ruff, formatting, mypy --strict, and the rooms (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff sort imports, fix what it can and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## run the benchmarks beside their peers, 20 minutes; ARGS pick one, e.g. ARGS=intake, or --quick
	$(BIN)/python -m bench $(ARGS)

docs: $(READY) ## make the reference pages and dashboards that come from code
	$(BIN)/python -m docs $(ARGS)

site: $(READY) ## build the documentation as a site into site/, and check its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

sbom: $(READY) ## dist/tocsin.cdx.json: what uv.lock installs, as CycloneDX
	@mkdir -p dist
	@$(BIN)/uv export --frozen --offline --no-dev --no-emit-project --quiet --format cyclonedx1.5 \
		--preview-features sbom-export --output-file dist/tocsin.cdx.json

audit: $(READY) ## ask PyPI for known vulnerabilities of the locked dependencies
	@mkdir -p dist
	@$(BIN)/uv export --frozen --no-dev --no-emit-project --quiet --output-file dist/audited.txt
	$(BIN)/uv tool run pip-audit --strict --require-hashes --disable-pip --requirement dist/audited.txt

venv: $(READY) ## make .venv with everything the other targets need

servers: $(READY) ## fetch what the real test servers need, and say what is missing
	@$(BIN)/python -m tests.servers.fetch

clean: ## remove .venv, dist and the tools' caches
	rm -rf $(VENV) dist site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "tocsin needs Python 3.11 or later; this is %d.%d: make PYTHON=python3.11" % v[:2])'
	@echo "installing: a virtual environment in $(VENV), and uv into it"
	@$(PYTHON) -m venv $(VENV) || { echo "Debian and Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$$(sed -n '/^name = "uv"$$/{n;s/^version = "\(.*\)"/\1/p;}' uv.lock)"

$(READY): pyproject.toml uv.lock | $(BIN)/uv
	@echo "installing: what uv.lock names (tocsin's dependencies and the developers' tools) into $(VENV)"
	@UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --frozen --quiet --python $(BIN)/python
	@touch $@
