# flip: everything a developer runs. `make help` lists it.
GO        ?= go
BIN       := bin/flip
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT    ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS   := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
PREFIX    ?= /usr/local
LINT_VERSION := v2.15.0
LINT      := $(shell $(GO) env GOPATH)/bin/golangci-lint
FUZZTIME  ?= 30s
SEEDS     ?= 20000
export GOFLAGS := $(GOFLAGS) -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help build demo test check fmt e2e e2e-full bench fuzz soak install lint-tool gcc

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the static binary, bin/flip
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/flip

demo: build ## three processes on loopback: kill an owner, watch who takes over
	$(BIN) demo

# One package at a time: the bulk seeds take every core, and the processes that
# other tests start have leases to keep. e2e is never taken from the cache, which
# does not know that it builds the binary.
test: build ## all tests without -race: the bulk seeds too and, as root, e2e
	$(GO) test -p 1 $$($(GO) list ./... | grep -v /e2e)
	$(GO) test -count=1 ./e2e/...

check: gcc lint-tool ## format, vet, lint and go test -race -short
	$(LINT) fmt --diff
	$(GO) vet ./...
	$(LINT) run ./...
	CGO_ENABLED=1 $(GO) test -race -short ./...

fmt: lint-tool ## rewrite the sources as make check wants them
	$(LINT) fmt

e2e: build ## the binary, black box: processes, signals, faults
	$(GO) test -count=1 ./e2e/...

e2e-full: build ## e2e five times over
	$(GO) test -count=5 -timeout 60m ./e2e/...

bench: build ## benchmarks, printed as ratios where a ratio exists
	$(GO) test -run '^$$' -bench . -benchmem ./...

fuzz: ## each fuzz target for FUZZTIME (30s)
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; done

soak: ## the adversary on SEEDS (20000) seeds, the properties on fresh cases
	FLIP_RANDOM=1 $(GO) test -count=1 -timeout 60m ./actions/ -run TestCoreKeepsItsPromises -rapid.checks=1000000
	FLIP_RANDOM=1 $(GO) test -count=1 ./config ./fsm ./liveness/... ./placement ./secure
	FLIP_SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 170m -run 'TestAdversary' ./sim/

install: build ## install the binary below PREFIX (/usr/local)
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/flip

# What make check needs besides Go; as root missing parts are installed.
gcc:
	@command -v gcc >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq gcc libc6-dev; } || \
		{ echo "make check needs gcc for the race detector: apt-get install gcc libc6-dev" >&2; exit 1; }

lint-tool:
	@$(LINT) version 2>/dev/null | grep -q 'version $(LINT_VERSION:v%=%)' || \
		$(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
