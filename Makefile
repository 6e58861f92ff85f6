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
SEEDS     ?= 50000
TRIALS    ?= 1
RESULTS   ?= $(CURDIR)/dist/results.json
# The tests that measure something: the swarm, and those of the network lab.
MEASURE   := ^TestSwarm$$|^TestNet(Faults|Stalled|Bets|Without|Thousand|Gate|Removed|QuickStart)
PRINT     := if [ -e $(RESULTS) ]; then $(GO) run ./e2e/table $(RESULTS); else echo "no network lab here: it needs root"; fi
export GOFLAGS := $(GOFLAGS) -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help build demo test check fmt e2e e2e-full bench fuzz soak install deb lintian alerts lint-tool gcc

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
	@mkdir -p $(dir $(RESULTS)) && rm -f $(RESULTS)
	FLIP_E2E_RESULTS=$(RESULTS) $(GO) test -count=1 -timeout 30m ./e2e/...

check: gcc lint-tool ## format, vet, lint and go test -race -short
	$(LINT) fmt --diff
	$(GO) vet ./...
	$(LINT) run ./...
	CGO_ENABLED=1 $(GO) test -race -short ./...

fmt: lint-tool ## rewrite the sources as make check wants them
	$(LINT) fmt

# As root these include the network lab: hosts as network namespaces, TRIALS
# times each fault, the figures in RESULTS.
e2e: build ## the binary, black box: processes, signals, faults, figures (TRIALS=1)
	@mkdir -p $(dir $(RESULTS)) && rm -f $(RESULTS)
	FLIP_E2E_TRIALS=$(TRIALS) FLIP_E2E_RESULTS=$(RESULTS) $(GO) test -count=1 -timeout 30m ./e2e/...

e2e-full: build ## e2e five times over, the network lab once with five trials, both timings
	$(GO) test -count=5 -timeout 60m -skip '^TestNet' ./e2e/...
	@mkdir -p $(dir $(RESULTS)) && rm -f $(RESULTS)
	FLIP_E2E_FULL=1 FLIP_E2E_TRIALS=5 FLIP_E2E_RESULTS=$(RESULTS) $(GO) test -count=1 -timeout 90m -run '^TestNet' ./e2e; \
		code=$$?; $(PRINT); exit $$code

bench: build ## benchmarks as ratios where a ratio exists, then the failovers' figures
	$(GO) test -run '^$$' -bench . -benchmem ./...
	@mkdir -p $(dir $(RESULTS)) && rm -f $(RESULTS)
	FLIP_E2E_TRIALS=$(TRIALS) FLIP_E2E_RESULTS=$(RESULTS) $(GO) test -count=1 -timeout 30m -run '$(MEASURE)' ./e2e; \
		code=$$?; $(PRINT); exit $$code

fuzz: ## each fuzz target for FUZZTIME (30s)
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "== $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; done

soak: ## the adversary on SEEDS (50000) seeds, the properties on fresh cases
	FLIP_RANDOM=1 $(GO) test -count=1 -timeout 60m ./actions/ -run TestCoreKeepsItsPromises -rapid.checks=1000000
	FLIP_RANDOM=1 $(GO) test -count=1 ./config ./fsm ./liveness/... ./placement ./secure
	FLIP_SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 170m -run 'TestAdversary' ./sim/

install: build ## install the binary and its manual pages below PREFIX (/usr/local)
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/bin/flip
	$(BIN) man $(DESTDIR)$(PREFIX)/share/man/man8

# A version that dpkg orders: the tag, else the number of commits since the root.
NFPM      := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.44.2
DEB_ARCH  ?= $(shell $(GO) env GOARCH)
DEB_VERSION ?= $(or $(patsubst v%,%,$(shell git describe --tags --exact-match 2>/dev/null)),0.0.0~git$(shell git rev-list --count HEAD 2>/dev/null || echo 0).$(COMMIT))
DEB_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || date +%s)

deb: build ## build the Debian package, dist/flip_VERSION_ARCH.deb
	@rm -rf dist/deb && mkdir -p dist/deb && rm -f dist/*.deb
	@cp -r deploy/examples dist/deb/examples && chmod -R u=rwX,go=rX dist/deb/examples
	@SOURCE_DATE_EPOCH=$(DEB_EPOCH) $(BIN) man dist/deb/man && gzip -9n dist/deb/man/*.8
	@for shell in bash zsh fish; do $(BIN) completion $$shell >dist/deb/completion.$$shell || exit 1; done
	@sh deploy/debian/changelog '$(DEB_VERSION)' $(DEB_EPOCH) <CHANGELOG.md | gzip -9n >dist/deb/changelog.gz
	SOURCE_DATE_EPOCH=$(DEB_EPOCH) VERSION='$(DEB_VERSION)' ARCH=$(DEB_ARCH) \
		$(GO) run $(NFPM) package --packager deb --config deploy/nfpm.yaml --target dist/

lintian: deb ## check the Debian package: lintian, and what it unpacks to
	@command -v lintian >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends lintian; } || \
		{ echo "make lintian needs lintian: apt-get install lintian" >&2; exit 1; }
	lintian --allow-root --fail-on error --info dist/*.deb
	FLIP_DEB="$$(ls $(CURDIR)/dist/*.deb)" $(GO) test -count=1 ./deploy/ -run 'TestPackage'

# promtool is taken out of Debian's package (19 MB), without installing it: that
# would start a Prometheus.
PROMTOOL  ?= $(or $(shell command -v promtool 2>/dev/null),dist/promtool)

alerts: $(PROMTOOL) ## check and test the alert rules with promtool
	$(PROMTOOL) check rules deploy/alerts.yml
	$(PROMTOOL) test rules deploy/alerts_test.yml

dist/promtool:
	@mkdir -p dist; dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && cd "$$dir" && \
	{ apt-get -qq download prometheus 2>/dev/null || { apt-get update -qq && apt-get -qq download prometheus; }; } && \
	dpkg -x prometheus_*.deb x && install -m 0755 x/usr/bin/promtool $(CURDIR)/dist/promtool

# What make check needs besides Go; as root missing parts are installed.
gcc:
	@command -v gcc >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq gcc libc6-dev; } || \
		{ echo "make check needs gcc for the race detector: apt-get install gcc libc6-dev" >&2; exit 1; }

lint-tool:
	@$(LINT) version 2>/dev/null | grep -q 'version $(LINT_VERSION:v%=%)' || \
		$(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
