# Two commands do everything: `make` builds the package into dist/, `make test` runs the tests.
# What they need beyond Python, make and git they install below .venv/ and build/, and in the caches of the user.

PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
UV_VERSION := $(shell sed -n 's/^ *"uv==\(.*\)",$$/\1/p' pyproject.toml)
RUN := $(BIN)/python -m

# Own modules are compiled once, into build/: start-up time is most of a run that has nothing to do.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/pycache
export PATH := $(CURDIR)/$(BIN):$(PATH)

# As the build itself calls Go, so that what one compiles the other finds in Go's cache.
GO := CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS="-mod=readonly -trimpath -buildvcs=false" go

.DEFAULT_GOAL := build
.PHONY: build root setup tools wheel test race check format verify scan supply-chain torture bench bench-add bench-growth bench-multus bench-pods bench-reconcile mutants docs update-golden clean e2e cluster-up cluster-down demo

# Options of the build: TO=REGISTRY/PATH, RELEASE=VERSION, PLATFORM="OS/ARCH …".
build: setup ## the main job: from source to dist/
	@$(BIN)/carvelwright build $(if $(TO),--to $(TO)) $(if $(RELEASE),--release $(RELEASE)) $(PLATFORM:%=--platform %)

setup: $(UV) ## the locked environment, Go included
	@$(UV) sync --locked --quiet

$(UV):
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or newer is needed; found " + sys.version.split()[0] + "; name another: make PYTHON=/path/to/python3")'
	@echo "making the environment in .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

tools: setup ## the pinned tools
	@$(BIN)/carvelwright doctor --install

wheel: setup ## carvelwright itself as a wheel, below build/wheel/, for other projects
	@$(RUN) hatchling build -t wheel -d build/wheel

test: tools ## unit, golden, property and integration tests; no root, no cluster, no build of the upstream payload
	@cd payload && $(GO) test ./...
	@$(RUN) pytest -n 2 --dist worksteal $(ARGS)

race: setup ## the Go tests under the race detector; needs a C compiler
	@cd payload && $(subst CGO_ENABLED=0,CGO_ENABLED=1,$(GO)) test -race ./...

check: setup ## format, lint, types, layers, lock, generated files
	@$(BIN)/ruff format --check --quiet . || { echo "error: run make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports | tail -n 1
	@$(UV) lock --check --quiet
	@$(BIN)/carvelwright doctor --install > /dev/null
	@$(BIN)/carvelwright check
	@$(BIN)/python scripts/docs.py --check
	@cd payload && test -z "$$("$$(go env GOROOT)/bin/gofmt" -l .)" || { echo "error: run make format"; exit 1; }
	@for module in payload payload/v*/; do (cd $$module && $(GO) vet ./...) || exit 1; done

format: setup ## put every file into the project's format
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .
	@"$$(go env GOROOT)/bin/gofmt" -w payload

verify: setup ## what only a finished build can show: Whereabouts' roles, every binary of every platform, the archive, the manifests
	@for module in payload/v*/; do (cd $$module && $(GO) test ./...) || exit 1; done
	@$(RUN) pytest tests/release $(ARGS)

# Option of these: KUBERNETES=VERSION, read from the environment, where make puts it.
e2e: root tools ## the package on a real two-node cluster; needs root
	@$(RUN) pytest tests/cluster --durations=25 --durations-min=20 $(ARGS)

cluster-up: root tools ## raise the cluster and leave it up; needs root
	@$(RUN) tests.cluster up

cluster-down: root setup ## take it down
	@$(RUN) tests.cluster down

demo: root tools ## raise the cluster, install and walk the documented steps, each command before its output; needs root
	@$(RUN) tests.cluster demo

scan: tools ## known vulnerabilities that the payload reaches: exit code 11
	@$(BIN)/carvelwright scan

root:
	@test "$$(id -u)" = 0 || { echo "error: the cluster needs root: it makes namespaces, mounts and cgroups; run this with sudo"; exit 1; }

bench: build ## the packaging part and a no-change run against a plain shell script, and kctrl where it is on PATH, side by side
	@$(BIN)/python scripts/bench.py

bench-reconcile: setup ## one run of the reconciler over 5,000 pods, against an API server on loopback: requests and seconds
	@$(RUN) tests.cluster.bench_reconcile

# Not in CI: minutes. Options: ARGS="--quick", ARGS="--run WORDS", ARGS="--plugin lease".
bench-add: tools ## what an ADD costs: upstream's own plugin, and this one with a lease and per node, against an API server on loopback
	@$(RUN) tests.cluster.bench_add $(ARGS)

# Not in CI: figures, and nothing that a test does not show.
bench-multus: root tools ## Multus thin, as the package has it, beside upstream's thick: memory, time of an ADD, a restart; needs root
	@$(RUN) tests.cluster.bench_multus

# Not in CI either: it compares times.
bench-pods: root tools ## 40 pods over two nodes, with an address of Whereabouts and without; needs root
	@$(RUN) tests.cluster.bench_pods

# Not in `make test`: the judges are built first, once for each checkout; cosign takes about 6 min of CPU.
supply-chain: tools ## outside judges of what is made: cosign verifies what is signed, cyclonedx-gomod finds the same modules in the binaries
	@nice -n 10 $(RUN) pytest tests/supply_chain $(ARGS)

# Not in CI: hours. Options: SEED=…, ROUNDS=… on each registry, ARGS="--registry KIND".
torture: tools ## concurrent publishers, killed and stalled at random, before three real registries that fail at random
	@$(RUN) tests.torture $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

bench-growth: tools ## one more version in repositories of 10, 100 and 1,000, against the same by hand: seconds and bytes
	@$(RUN) tests.torture.growth $(ARGS)

# Not in CI: it takes its time, and needs a library that nothing else needs.
mutants: tools ## change the code that decides what is published, removed or reported; report what no test notices
	@$(UV) sync --locked --quiet --group mutants
	@nice -n 10 $(BIN)/python scripts/mutants.py $(ARGS)

docs: tools ## generated pages of docs/reference
	@$(BIN)/python scripts/docs.py

update-golden: tools ## rewrite the expected side of the golden cases; read the diff
	@$(RUN) pytest tests/golden --update-golden

clean: ## everything that was made, but not the environment
	@rm -rf build dist mutants
