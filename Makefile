# Variables given to make (`make run CLIENTS=4 PARTITION=labels:5`) and those of the environment reach the programs:
# make exports both. So every setting can be given here; README lists them.
.DEFAULT_GOAL := help
.PHONY: help run test test-slow lint bench lock proto clean .venv

# GNU make ends with 2 whenever a recipe fails; the exit code of the server stands in its last line, as `Error 4`.
run: .venv ## train on this machine: a server and CLIENTS=2 clients, ROUNDS=3
	@.venv/bin/python -m fedmx.local

test: .venv ## run the tests; ARGS="-k partition" chooses among them
	@.venv/bin/python -m pytest $(ARGS)

test-slow: .venv ## run the tests that take minutes
	@.venv/bin/python -m pytest -m slow $(ARGS)

lint: .venv ## check style, format and types
	@.venv/bin/python -m ruff check && .venv/bin/python -m ruff format --check
	@.venv/bin/python -m mypy

bench: .venv ## measure the link against Flower's own engines
	@.venv/bin/python -m bench $(ARGS)

lock: .venv ## write requirements/*.txt from pyproject.toml; ARGS=--upgrade takes newer versions
	@requirements/lock.sh $(ARGS)

proto: .venv ## write fedmx/link/link_pb2.py and .pyi from link.proto
	@.venv/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. fedmx/link/link.proto

clean: ## remove .venv and caches; runs/ stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -prune -exec rm -rf {} +

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv:
	@requirements/venv.sh dev
