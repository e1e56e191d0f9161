# Every setting can be set on the command line (`make run CLIENTS=4 PARTITION=labels:5`) or in the environment: make
# exports both to the programs. docs/reference/settings.md lists the settings.
.DEFAULT_GOAL := help
.PHONY: .task help run simulate runs events export tensorboard docs test test-slow lint settings bench lock audit sbom proto build up down logs status watch ps gpu client superlink superlink-down shell swarm swarm-down check-gpu fuzz chaos clean .docker \
	pki-init pki-server pki-site pki-sign pki-list pki-revoke pki-renew bundle

# Check in a recipe that a variable is set: @$(call require,NAME,name of the site). Recipes read variables through the
# shell, "$$NAME", so that a value is never run as a command.
require = test "$$$(1)" || { echo 'make $@: $(1) is not set; expected the $(2)' >&2; exit 2; }
BUNDLE ?= bundle
export BUNDLE
# A fleet's services are in the same project, but not in docker-compose.yml: Compose would report them as orphans.
export COMPOSE_IGNORE_ORPHANS ?= true
# A bundle contains its project's name. COMPOSE_PROJECT_NAME in the environment belongs to a server on this machine and is
# ignored; on make's command line, it takes precedence.
own_project = $(if $(filter command,$(origin COMPOSE_PROJECT_NAME)),,env -u COMPOSE_PROJECT_NAME)

# Reject names that are not settings, on make's command line and in the .env that compose reads, before anything starts.
# The runs of `make up` are in a volume, which only a container can read.
from_volume = $(if $(filter containers,$(FROM)),events export runs tensorboard)
of_make = ARGS BEST BUNDLE FORMAT FROM NAME OUTPUT REQUEST REQUIRE_AUDIT REQUIRE_ENGINE RUN SECONDS SITE MAKEFLAGS SHELL $(of_simulation) $(of_swarm)
# No compose file lists these settings, so names.sh does not know them.
of_simulation = $(if $(filter simulate,$(MAKECMDGOALS)),NODES FRACTION SIMULATION_CPUS SIMULATION_GPUS RAY_ADDRESS)
of_swarm = $(if $(filter swarm,$(MAKECMDGOALS)),CLIENT_IMAGE SERVER_IMAGE)
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
env_file := $(if $(filter client,$(MAKECMDGOALS)),$(BUNDLE)/.env,$(if $(filter build bundle gpu pki-% shell superlink swarm up $(from_volume),$(MAKECMDGOALS)),.env))
quoted = '$(subst ','\'',$(1))'
unknown := $(if $(given)$(env_file),$(shell requirements/names.sh '$(of_make)' $(call quoted,$(env_file)) $(foreach name,$(given),$(call quoted,$(name))) >&2 || echo found))
$(if $(unknown),$(error unknown names; docs/reference/settings.md lists the settings; prefix your own names in .env with X_, or set them before `make`))

# Make would expand `$` in a value that it exports, such as ON_END_COMMAND='echo $FEDMX_RUN_ID', which is for the shell.
$(foreach name,$(filter-out MAKEFLAGS SHELL,$(given)),$(eval override export $(name) := $$(value $(name))))

##@ Train
# GNU make exits with 2 whenever a recipe fails; its final line has the exit code of the server, as `Error 4`.
run: .venv/run.ok ## Train on this machine: a server and CLIENTS=2 clients, ROUNDS=3
	@.venv/bin/python -m local

help: ## List the targets
	@awk -F ':.*## ' '/^##@ / { print (n++ ? "\n" : "") substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

simulate: .venv-simulation/ok ## Simulate NODES=10 virtual nodes, of which FRACTION=1 train in each of ROUNDS=3 rounds, on Ray
	@.venv-simulation/bin/python -m local.simulation

runs: $(if $(from_volume),.docker,.venv/run.ok) ## List the runs; ARGS="show latest", "compare A B" or "remove A"; FROM=containers for the runs of `make up`
	@local/runs.sh $(ARGS)

events: $(if $(from_volume),.docker,.venv/run.ok) ## List joins, refusals, certificates and runs; ARGS="--since 7d"; FROM=containers for those of `make up`
	@local/events.sh $(ARGS)

##@ Models
export: $(if $(from_volume),.docker,.venv/export.ok) ## Write a run's model as a file: RUN=latest FORMAT=onnx, mxnet, params or npz; FROM=containers for the runs of `make up`
	@local/export.sh

tensorboard: $(if $(from_volume),.docker,.venv-tensorboard/ok) ## Show the runs that were trained with TENSORBOARD=on; FROM=containers for the runs of `make up`
	@local/tensorboard.sh $(ARGS)

##@ Containers
build: .docker ## Build the images of the server and the client
	@docker compose build

# If the server fails, Compose leaves the clients running, which would dial until SERVER_WAIT_TIMEOUT. A value that Compose
# cannot read, such as CLIENTS=two, stops nothing.
up: .docker ## Train in containers: a server and CLIENTS=2 clients
	@docker compose config --quiet
	@trap 'echo "stopped: if the run is unfinished, the same command resumes it"' INT; docker compose up || { code=$$?; docker compose stop server client; exit $$code; }
	@echo 'the runs: `make runs FROM=containers`; a model as a file: `make export FROM=containers RUN=latest`'

gpu: .docker ## Train in containers with CUDA clients
	@docker compose --profile gpu config --quiet
	@requirements/gpu.sh
	@docker compose --profile gpu up --scale client=0 || { code=$$?; docker compose --profile gpu stop server client-gpu; exit $$code; }

client: .docker ## Start only clients, with a site's bundle: BUNDLE=bundle
	@test -f "$$BUNDLE/certs/site.crt" || { echo "make client: no bundle in $$BUNDLE; expected one that \`make bundle\` wrote on the server's machine, unpacked there, or BUNDLE=FOLDER" >&2; exit 2; }
	@cd "$$BUNDLE" && $(own_project) docker compose up

superlink: .docker ## Train on a SuperLink fleet with SUPERNODES=2, which keeps running; ARGS=list, ARGS="follow RUN" or "stop RUN"
	@deploy/superlink/superlink.sh $(ARGS)

superlink-down: ## Stop and remove the fleet; its database, runs, models and certificates are kept
	@deploy/superlink/superlink.sh down

down: superlink-down ## Stop and remove the containers; runs, models and certificates are kept
	@docker compose --profile gpu --profile tools down

logs: ## Print the containers' logs and follow them
	@docker compose --profile gpu logs --follow

status: .docker ## Print the URL of the page that shows the run of `make up`
	@server/status/url.sh

watch: .docker ## Watch the run of `make up` in this terminal
	@server/watching/watch.sh

ps: ## List the containers
	@docker compose --profile gpu ps --all

shell: .docker ## Open a shell in a client container
	@docker compose run --rm --no-deps client bash

swarm: .docker ## Deploy a server and CLIENTS=2 clients to a swarm, or update them; ARGS="-f FILE.yml" adds a file
	@deploy/swarm/deploy.sh $(ARGS)

swarm-down: .docker ## Remove the stack from the swarm; runs, models and certificates are kept
	@deploy/swarm/remove.sh

clean: ## Remove .venv, caches, containers and images; runs remain, in runs/ and in the volume
	@rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info && find . -name __pycache__ -prune -exec rm -rf {} +
	@! docker version >/dev/null 2>&1 || { deploy/superlink/superlink.sh down && docker compose --profile gpu --profile model --profile tools down --rmi all; }

##@ Certificates
pki-init: .docker ## Create the federation's authority; the first `make up` does so, too
	@server/authority/pki.sh init

pki-server: .docker ## Issue the server's certificate; SERVER_NAMES=fl.example.org adds a name, SERVER_NAMES=-fl.example.org removes it
	@server/authority/pki.sh server

pki-site: .docker ## Issue a site's key and certificate: NAME=hospital-a
	@$(call require,NAME,name of the site)
	@server/authority/pki.sh site "$$NAME" && deploy/superlink/superlink.sh update

pki-sign: .docker ## Sign a site's certificate request: NAME=hospital-a REQUEST=hospital-a.csr
	@$(call require,NAME,name of the site)
	@$(call require,REQUEST,file that `client pki request` wrote at the site)
	@server/authority/pki.sh sign "$$NAME" - <"$$REQUEST" && deploy/superlink/superlink.sh update

pki-list: .docker ## List the certificates and their validity
	@server/authority/pki.sh list

pki-revoke: .docker ## Revoke a site's certificates: NAME=hospital-a
	@$(call require,NAME,name of the site)
	@server/authority/pki.sh revoke "$$NAME" && deploy/superlink/superlink.sh update

pki-renew: .docker ## Renew the certificates that expire soon
	@server/authority/pki.sh renew

bundle: .docker ## Create a site's bundle: SITE=hospital-a SERVER_ADDRESS=fl.example.org:8080 [REQUEST=hospital-a.csr]
	@server/authority/bundle.sh && deploy/superlink/superlink.sh update

##@ Development
pytest = .venv/bin/python -m pytest
in_parallel = -n auto --dist worksteal

docs: .venv-docs/ok ## Build the documentation site in build/docs, which opens without a server or a network
	@.venv-docs/bin/python -m requirements.site

# Containers of tests share one engine, so their tests run one after another, in one process.
test: .venv/dev.ok .venv-docs/ok ## Run the tests; ARGS="-k partition" selects some, which run in one process
	@$(if $(ARGS),$(pytest) $(ARGS),$(pytest) $(in_parallel) --ignore=tests/compose && $(pytest) tests/compose)

test-slow: .venv/dev.ok .venv-mlflow/ok ## Run the tests that take minutes; ARGS="-k mnist" selects some
	@$(pytest) -m slow $(or $(ARGS),$(in_parallel))

lint: .venv/dev.ok ## Check style, format, types and the output of `make settings`
	@.venv/bin/python -m ruff check && .venv/bin/python -m ruff format --check
	@.venv/bin/python -m mypy && .venv/bin/python -m requirements.settings --check

settings: .venv/dev.ok ## After a change of a setting in fedmx/: update what lists the settings (.env keeps your values)
	@.venv/bin/python -m requirements.settings

bench: .venv/dev.ok ## Measure the link against Flower's own engines
	@.venv/bin/python -m bench $(ARGS)

lock: .venv/dev.ok ## Generate requirements/*.txt from pyproject.toml; ARGS=--upgrade updates versions
	@requirements/lock.sh $(ARGS)

audit: .venv/dev.ok ## Check the locks for known vulnerabilities; ARGS="--vulnerability-service osv" selects a source
	@requirements/audit.sh $(ARGS)

sbom: .venv/dev.ok ## Generate each image's bill of materials in sbom/
	@requirements/sbom.sh

proto: .venv/dev.ok ## Generate fedmx/protocol/link_pb2.py and .pyi from link.proto
	@.venv/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. fedmx/protocol/link.proto

check-gpu: .venv/dev.ok ## Build the CUDA image and test it; downloads 2 GB
	@$(pytest) -m gpu_image $(ARGS)

fuzz: .venv/dev.ok ## Fuzz the wire protocol, guided by coverage; SECONDS=60
	@.venv/bin/python -m fuzz --seconds $(or $(SECONDS),60)

chaos: .venv/dev.ok ## Kill, disconnect and stall federations for a while; ARGS="--seconds 1200 --seed 1"
	@.venv/bin/python -m tests.federation.chaos $(ARGS)

# A task's packages may change without a newer file: it was restored, or removed. The script compares.
.venv/%.ok: requirements/%.txt requirements/venv.sh .venv/bin/python $(if $(wildcard requirements/task.txt .venv/task.in),.task)
	@requirements/venv.sh $*

# Workers of a simulation import the task, so its packages are installed here, too.
.venv-simulation/ok: $(if $(wildcard requirements/task.txt .venv-simulation/task.in),.task)

# Each tool has an environment of its own.
.venv-%/ok: requirements/%.txt requirements/venv.sh
	@requirements/venv.sh $*

# Where it is gone, the rule above sets up .venv again.
.venv/bin/python:

.docker:
	@requirements/docker.sh
