# Variables given to make (`make run CLIENTS=4 PARTITION=labels:5`) and those of the environment reach the programs:
# make exports both. So every setting can be given here; README lists them.
.DEFAULT_GOAL := help
.PHONY: help run test test-slow lint settings bench lock audit sbom proto build up down logs ps gpu client shell check-gpu fuzz chaos clean \
	pki-init pki-server pki-site pki-sign pki-list pki-revoke pki-renew bundle

# Recipes read such variables as the shell's, so that what they hold is never taken for a command.
need = @test "$$$(1)" || { echo 'make $@: $(1) is not set; expected the $(2)' >&2; exit 2; }
BUNDLE ?= bundle
export BUNDLE
# A bundle names its own project. The name that a shell has is that of a server on this machine; one given to make wins.
own_project = $(if $(filter command,$(origin COMPOSE_PROJECT_NAME)),,env -u COMPOSE_PROJECT_NAME)

# A name that is no setting is refused before anything is done: one given to make, or in the .env that compose reads.
of_make = ARGS BUNDLE NAME REQUEST REQUIRE_AUDIT REQUIRE_ENGINE SECONDS SITE MAKEFLAGS SHELL
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
env_file := $(if $(filter client,$(MAKECMDGOALS)),$(BUNDLE)/.env,$(if $(filter build bundle gpu pki-% shell up,$(MAKECMDGOALS)),.env))
quoted = '$(subst ','\'',$(1))'
unknown := $(if $(given)$(env_file),$(shell requirements/names.sh '$(of_make)' $(call quoted,$(env_file)) $(foreach name,$(given),$(call quoted,$(name)))))
$(if $(unknown),$(error $(unknown) docs/settings.md lists the settings; names of your own begin with X_ in .env, or stand before `make`))

##@ Use it
# GNU make ends with 2 whenever a recipe fails; the exit code of the server stands in its last line, as `Error 4`.
run: .venv/run.ok ## train on this machine: a server and CLIENTS=2 clients, ROUNDS=3
	@.venv/bin/python -m local

help: ## list what make can do
	@awk -F ':.*## ' '/^##@ / { print (n++ ? "\n" : "") substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

##@ Containers
build: ## build the images of the server and the client
	@docker compose build

# Compose leaves the clients running where the server failed; they would dial it until SERVER_WAIT_TIMEOUT.
up: ## train in containers: a server and CLIENTS=2 clients
	@docker compose up || { code=$$?; docker compose stop; exit $$code; }

gpu: ## train in containers with CUDA clients
	@requirements/gpu.sh
	@docker compose --profile gpu up --scale client=0 || { code=$$?; docker compose --profile gpu stop; exit $$code; }

client: ## only clients, of a site: BUNDLE=bundle is the folder of its bundle
	@test -f "$$BUNDLE/certs/site.crt" || { echo "make client: no bundle in $$BUNDLE; expected one that \`make bundle\` wrote on the server's machine, unpacked there, or BUNDLE=FOLDER" >&2; exit 2; }
	@cd "$$BUNDLE" && $(own_project) docker compose up

down: ## remove the containers; the volume with the runs stays
	@docker compose --profile gpu down

logs: ## follow what the containers say
	@docker compose --profile gpu logs --follow

ps: ## list the containers
	@docker compose --profile gpu ps --all

shell: ## open a shell in a client's container
	@docker compose run --rm --no-deps client bash

clean: ## remove .venv, caches, containers and images; runs stay, in runs/ and in the volume
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info && find . -name __pycache__ -prune -exec rm -rf {} +
	@! docker version >/dev/null 2>&1 || docker compose --profile gpu down --rmi all

##@ Certificates
pki-init: ## make the federation's authority, as the first `make up` does by itself
	@server/authority/pki.sh init

pki-server: ## issue the server's certificate; SERVER_NAMES=fl.example.org adds a name, SERVER_NAMES=-fl.example.org removes it
	@server/authority/pki.sh server

pki-site: ## issue a site's key and certificate: NAME=hospital-a
	$(call need,NAME,name of the site)
	@server/authority/pki.sh site "$$NAME"

pki-sign: ## issue the certificate of a site that keeps its own key: NAME=hospital-a REQUEST=hospital-a.csr
	$(call need,NAME,name of the site); $(subst @,,$(call need,REQUEST,file that `client pki request` wrote at the site))
	@server/authority/pki.sh sign "$$NAME" - <"$$REQUEST"

pki-list: ## list certificates, and which of them are current
	@server/authority/pki.sh list

pki-revoke: ## revoke a site's certificates: NAME=hospital-a
	$(call need,NAME,name of the site)
	@server/authority/pki.sh revoke "$$NAME"

pki-renew: ## renew the certificates that expire soon
	@server/authority/pki.sh renew

bundle: ## write a site's archive: SITE=hospital-a SERVER_ADDRESS=fl.example.org:8080 [REQUEST=hospital-a.csr]
	@server/authority/bundle.sh

##@ Working on fedmx
test: .venv/dev.ok ## run the tests; ARGS="-k partition" chooses among them
	@.venv/bin/python -m pytest $(ARGS)

test-slow: .venv/dev.ok ## run the tests that take minutes
	@.venv/bin/python -m pytest -m slow $(ARGS)

lint: .venv/dev.ok ## check style, format, types and what `make settings` writes
	@.venv/bin/python -m ruff check && .venv/bin/python -m ruff format --check
	@.venv/bin/python -m mypy && .venv/bin/python -m requirements.settings --check

settings: .venv/dev.ok ## write .env, the compose file's lists and the tables of docs/ from fedmx/settings.py
	@.venv/bin/python -m requirements.settings

bench: .venv/dev.ok ## measure the link against Flower's own engines
	@.venv/bin/python -m bench $(ARGS)

lock: .venv/dev.ok ## write requirements/*.txt from pyproject.toml; ARGS=--upgrade takes newer versions
	@requirements/lock.sh $(ARGS)

audit: .venv/dev.ok ## look for known vulnerabilities in the locks; ARGS="--vulnerability-service osv" names a source
	@requirements/audit.sh $(ARGS)

sbom: .venv/dev.ok ## write each image's bill of materials to sbom/
	@mkdir -p sbom && for lock in server client gpu; do .venv/bin/python -W ignore -m cyclonedx_py requirements \
		--pyproject pyproject.toml --output-reproducible -o sbom/$$lock.cdx.json requirements/$$lock.txt || exit; done

proto: .venv/dev.ok ## write fedmx/protocol/link_pb2.py and .pyi from link.proto
	@.venv/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. fedmx/protocol/link.proto

check-gpu: .venv/dev.ok ## build the CUDA image and check it; downloads 2 GB
	@.venv/bin/python -m pytest -m gpu_image $(ARGS)

fuzz: .venv/dev.ok ## invent what may come over the wire, guided by coverage; SECONDS=60
	@.venv/bin/python -m fuzz --seconds $(or $(SECONDS),60)

chaos: .venv/dev.ok ## kill, cut and stall federations for a while; ARGS="--seconds 1200 --seed 1"
	@.venv/bin/python -m tests.federation.chaos $(ARGS)

.venv/%.ok: requirements/%.txt requirements/venv.sh .venv/bin/python
	@requirements/venv.sh $*

# Where it is gone, the rule above sets up .venv again.
.venv/bin/python:
