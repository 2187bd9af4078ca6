# Every command that people and CI rely on. `make help` explains them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do if $$p -c 'import sys; raise SystemExit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then echo $$p; break; fi; done)

.PHONY: help setup test test-slow test-kafka test-k8s faults test-chart test-fast simulate mutation-check sources-report formats-report conformance lint format bench evaluate demo up down status protos protos-check contracts contracts-check contracts-accept wheels image test-image lock clean

help: ## Show this list
	@echo "Cairn: what to run"; echo
	awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  \033[1mmake %-16s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	echo; echo "  make demo DATASET=DIR   the same on a real log (DIR/interactions.csv.gz)"
	echo "  make demo KEEP=yes      leave the stack and its data running; make down stops it"
	echo "  make demo JSON=FILE     also write the summary to FILE"
	echo "  make demo BROKER=kafka  on Apache Kafka instead of the embedded broker (make up too; needs Java and Maven)"
	echo "  make bench JSON=FILE    also write the figures to FILE; ONLY=sizes measures one part again (ONLY=load: ROWS=100000 loads fewer)"

# Shortens pip's output to a line per 20 packages and one per step; pip's errors are on standard error.
define PIP_PROGRESS
{ packages=$$(grep -c == requirements.lock); seen=0
  while read -r word rest; do case "$$word" in
    Collecting|Requirement|Ignoring) seen=$$((seen + 1)); if [ $$((seen % 20)) = 0 ]; then echo "  $$seen of $$packages packages downloaded"; fi ;;
    Installing) echo "  all downloaded; unpacking them takes about half a minute" ;;
  esac; done; }
endef

setup: $(STAMP) ## Create .venv and install everything from requirements.lock

$(STAMP): requirements.lock pyproject.toml protos/pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Cairn needs Python 3.11 or 3.12 on PATH; none was found. Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; fi
	echo "Installing into $(VENV) with $$($(PYTHON) --version) ..."
	$(PYTHON) -m venv $(VENV)
	PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --no-color --progress-bar off --disable-pip-version-check --require-hashes -r requirements.lock | $(PIP_PROGRESS)
	echo "  installing Cairn itself"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e protos -e .
	touch $(STAMP)

PYTEST := $(BIN)/python -m pytest tests --ignore=tests/benchmarks --ignore=tests/chart --ignore=tests/images --ignore=tests/kafka -n 2 --dist worksteal

test: $(STAMP) ## Run every test tier that needs no Java, without what test-slow runs
	@$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(STAMP) ## Run the tests that take long and rarely break: documents, measured quality, whole systems
	@$(PYTEST) -m slow $(ARGS)

# The tests that depend on the broker's behaviour: log, worker, ingest and dead letters.
KAFKA_TESTS := tests/kafka $(addprefix tests/integration/test_,common_kafka.py topics_command.py \
  recommender_catalog_kafka.py ingest_kafka.py worker.py dead_letters.py) \
  tests/e2e/test_demo.py::test_a_districts_events_go_through_every_process_and_become_recommendations

test-kafka: $(STAMP) ## Run tests and every fault against a real Apache Kafka (needs Java 17 and Maven)
	@missing=$$($(BIN)/python -c 'from deploy.kafka.cluster import missing_tools; print(*missing_tools(), sep=", ")')
	if [ -n "$$missing" ]; then echo "skipped: a real Kafka needs Java 17 and Maven on PATH, and these are missing: $$missing"; exit 0; fi
	CAIRN_TEST_BROKER=kafka $(BIN)/python -m pytest $(KAFKA_TESTS) $(ARGS)
	$(BIN)/python -m tests.faults $(if $(JSON),--json $(JSON))

faults: $(STAMP) ## Run every fault three times on one broker and three times on three (ONLY=scenario: one of them)
	@$(BIN)/python -m tests.faults --nodes 1 --nodes 3 --times 3 $(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json $(JSON))

test-chart: $(STAMP) ## Check what the Helm chart renders, without a cluster, and its alerts
	@$(BIN)/python -m tests.chart $(ARGS)

test-fast: $(STAMP) ## Run the tests that start no processes
	@$(BIN)/python -m pytest tests/unit tests/component tests/contract $(ARGS)

test-k8s: $(STAMP) ## Install the chart on a Kubernetes of one node here, and check it (ONLY=check: one; needs root, Go, Java, Maven, Debian packages)
	@$(BIN)/python -m tests.kubernetes $(foreach check,$(ONLY),--only $(check)) $(if $(WITHIN),--within $(WITHIN))

simulate: $(STAMP) ## Simulate SCHEDULES (2000) sequences of faults on a virtual clock, and fold FOLD_LOGS (100000) random logs
	@$(BIN)/python -m tests.simulation $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(FOLD_LOGS),--fold-logs $(FOLD_LOGS)) $(if $(FIRST),--first $(FIRST))

mutation-check: $(STAMP) ## Break each guarantee on purpose and check that a test fails (SHORT=yes: the quick ones)
	@$(BIN)/python -m tests.mutations $(if $(SHORT),--short) $(ARGS)

sources-report: $(STAMP) ## Read the samples of every known source and compare them with what they must become (ONLY=name: one source)
	@$(BIN)/python -m tests.sources $(foreach name,$(ONLY),--only $(name))

formats-report: $(STAMP) ## Read payloads of public formats and compare them with what the specifications say (ONLY=folder: one)
	@$(BIN)/python -m tests.formats $(foreach name,$(ONLY),--only $(name))

conformance: $(STAMP) ## Run ADL's suite for xAPI against Cairn (SUITE=DIR: a checkout of it; VERSION=2.0.0); the project's own tests without
	@$(BIN)/python -m tests.conformance $(if $(SUITE),--suite "$(SUITE)") $(if $(VERSION),--version $(VERSION))

lint: $(STAMP) protos-check contracts-check ## Check style, types, layers, contracts and generated code
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code in the project's style
	@$(BIN)/ruff check --fix . || true
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure speed and memory on this machine
	@$(BIN)/python -m tests.benchmarks $(if $(JSON),--json $(JSON)) $(if $(ROWS),--rows $(ROWS)) $(foreach part,$(ONLY),--only $(part))

evaluate: $(STAMP) ## Evaluate every model with every protocol and write docs/evaluation.* (15 to 25 minutes; DATA=DIR; ONLY="tracing/algebra05 ..." changes these only)
	@$(BIN)/python -m deploy.evaluation $(if $(DATA),--data "$(DATA)") $(foreach protocol,$(ONLY),--only $(protocol))

demo: $(STAMP) ## Run the whole system on this machine with a simulated district, or with DATASET (KEEP=yes: leave it running)
	@$(BIN)/python -m deploy.local demo $(if $(KEEP),--keep) $(if $(DATASET),--dataset "$(DATASET)") $(if $(BROKER),--broker $(BROKER)) $(if $(JSON),--json "$(JSON)")

up: $(STAMP) ## Start the whole system and leave it running
	@$(BIN)/python -m deploy.local up $(if $(BROKER),--broker $(BROKER))

down: $(STAMP) ## Stop what `make up` or `make demo KEEP=yes` started
	@$(BIN)/python -m deploy.local down

status: $(STAMP) ## Show what is running, where, and how far it has come
	@$(BIN)/cairn status

PROTOS := $(sort $(wildcard protos/cairn/v1/*.proto))
# google/api/annotations.proto comes with a library.
PROTOC = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos -I "$$($(BIN)/python -c 'from pathlib import Path; from google.api import annotations_pb2; print(Path(annotations_pb2.__file__).parents[2])')"

protos: $(STAMP) ## Generate the Python code from protos/
	@$(PROTOC) --python_out=protos --grpc_python_out=protos --mypy_out=quiet:protos --mypy_grpc_out=quiet:protos $(PROTOS)
	rm -f protos/cairn/v1/{events,options}_pb2_grpc.py*

protos-check: $(STAMP) ## Fail when the generated code is out of date
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT
	$(PROTOC) --python_out="$$fresh" --grpc_python_out="$$fresh" --mypy_out=quiet:"$$fresh" --mypy_grpc_out=quiet:"$$fresh" $(PROTOS)
	for file in protos/cairn/v1/*_pb2*; do
	  cmp -s "$$file" "$$fresh/cairn/v1/$$(basename "$$file")" || { echo "$$file is out of date: run make protos and commit the result" >&2; exit 1; }
	done

contracts: $(STAMP) ## Generate docs/api.md, docs/openapi.yaml and docs/asyncapi.yaml from protos/ and the topics
	@$(BIN)/python -m deploy.contracts write

contracts-check: $(STAMP) ## Fail when a contract breaks its baseline or a generated document is out of date
	@$(BIN)/python -m deploy.contracts check

contracts-accept: $(STAMP) ## Make the current contracts the baseline (BREAKING=yes: accept breaking changes too)
	@$(BIN)/python -m deploy.contracts accept $(if $(BREAKING),--breaking)

wheels: $(STAMP) ## Build the wheels of cairn and cairn-client into dist/
	@rm -rf dist
	for project in protos .; do (cd $$project && "$(CURDIR)/$(BIN)/python" -m hatchling build -t wheel -d "$(CURDIR)/dist"); done

image: $(STAMP) ## Build the container images with podman or docker (ONLY=worker: one; BASE=IMAGE: on it, not on Debian packages; TAG=)
	@$(BIN)/python -m deploy.image $(ONLY) $(if $(BASE),--base "$(BASE)") $(if $(TAG),--tag "$(TAG)") $(if $(ENGINE),--engine "$(ENGINE)")

test-image: $(STAMP) ## Run every image that `make image` built: without root, on a read-only root file system, to SIGTERM
	@$(BIN)/python -m pytest tests/images $(ARGS)

lock: ## Resolve requirements.lock again (needs uv)
	@uv pip compile pyproject.toml --all-extras --no-emit-package cairn-client --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" -o requirements.lock

clean: ## Remove everything that these commands created
	@rm -rf $(VENV) .local .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
