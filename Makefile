# What one does with a clone. Everything that CI does is a target here.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO       ?= go
# Which packages to test, and more for go test: make test PKG=./domain/... ARGS='-run TestLease'
PKG      ?= ./...
ARGS     ?=
# How long each fuzz target runs.
FUZZTIME ?= 30s
# TAGS=nvml makes an agent that asks NVIDIA's library itself; it takes a C compiler.
TAGS     ?=
# The header of that library marks what it has deprecated, all of it, each time.
NVML := CGO_CFLAGS="-O2 -g -Wno-deprecated-declarations" $(GO)

# The flags of build, vet and test are the same on purpose (none): another
# -race, -trimpath or CGO_ENABLED compiles every dependency again.
GOTEST := $(GO) test -json -shuffle=on

# Tools are built once per version, outside the clone. Their versions are
# those of tests/tools/go.mod.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/peergpu/bin
version = $(shell awk '$$1 == "$(1)" { print $$2 }' tests/tools/go.mod)
GOLANGCI := $(TOOLS)/golangci-lint-$(call version,github.com/golangci/golangci-lint/v2)
VERSITYGW := $(TOOLS)/versitygw-$(call version,github.com/versity/versitygw)
GOVULN := $(TOOLS)/govulncheck-$(call version,golang.org/x/vuln)

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^##@/ { print "\n" substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Use it

.PHONY: run
run: build ## start the whole marketplace on this machine and run an example job on it
	@exec bin/peergpu demo

.PHONY: build
build: needs-go pages ## compile the server, with the web app, and the agent into ./bin
	@$(GO) build -v -o bin/peergpu . 2>&1 | $(progress)
	@$(if $(findstring nvml,$(TAGS)),$(NVML),$(GO)) build -v -tags '$(TAGS)' -o bin/peergpu-agent ./agent 2>&1 | $(progress)
	@CGO_ENABLED=0 $(GO) build -v -trimpath -ldflags="-s -w" -o bin/peergpu-entry ./agent/entry 2>&1 | $(progress)

.PHONY: dev
dev: build ## the same, and the web app as its sources change on http://localhost:5173
	@bin/peergpu demo & server=$$!; trap 'kill $$server 2> /dev/null || true; wait $$server || true' EXIT; \
		cd web && node node_modules/vite/bin/vite.js

.PHONY: clean
clean: ## remove what was built (the data of make run stays in ./data)
	rm -rf bin web/node_modules
	git clean -qdfX web/dist

##@ Check it

.PHONY: test
test: bin/testrun pages s3 ## install and start what the tests need, run all, stop it, sum up
	@bin/testrun $(GOTEST) -timeout 20m $(ARGS) $(PKG)

.PHONY: test-shared
test-shared: bin/testrun pages s3 ## the end-to-end tests with Postgres, Redis and S3 in place of the embedded parts
	@PEERGPU_TEST_PROFILE=shared bin/testrun $(GOTEST) -timeout 20m $(ARGS) ./tests/e2e

.PHONY: test-race
test-race: bin/testrun pages s3 ## the same with the race detector (compiles all again, several minutes)
	@bin/testrun $(GOTEST) -race -timeout 20m $(ARGS) $(PKG)

.PHONY: cover
cover: bin/testrun pages s3 ## the same with coverage: its sum, and by line in bin/cover.html
	@bin/testrun $(GOTEST) -timeout 20m -coverpkg=./... -coverprofile=bin/cover.out $(ARGS) $(PKG)
	@$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	@$(GO) tool cover -func=bin/cover.out | tail -n 1

# Each takes a SEED to repeat what another run found; the default is a new one.
.PHONY: test-faults
test-faults: bin/testrun s3 ## RUNS random crash points and series of other faults (default: each once)
	@$(if $(RUNS),RUNS=$(RUNS)) $(if $(SEED),SEED=$(SEED)) bin/testrun $(GOTEST) -tags faults -count=1 -parallel 6 -timeout 0 -run ARandom $(ARGS) ./tests/e2e
	@$(GO) test -tags faults ./tests/faults

.PHONY: soak
soak: bin/testrun s3 ## kill server and agent again and again while 20 jobs run, for SOAK (1h)
	@SOAK=$(or $(SOAK),1h) $(if $(SEED),SEED=$(SEED)) bin/testrun $(GOTEST) -tags faults -count=1 -timeout 0 -run ForHours $(ARGS) ./tests/e2e

.PHONY: first-run
first-run: ## prove make run on an empty HOME: job, money, Ctrl-C, second start
	@tests/e2e/first_run.sh

.PHONY: bench
bench: bin/testrun s3 ## time jobs, agents, logs and the match, each figure beside its floor, and the log viewer
	@bin/testrun $(GO) test -run '^$$' -bench . -timeout 30m $(ARGS) ./tests/bench/...
	@$(MAKE) bench-web

# Its counts are tests; here they come with the times, which have budgets.
.PHONY: bench-web
bench-web: bin/testrun ## time the log viewer with 100,000 lines and 5,000 a second more
	@$(without-node) || exit 0; $(MAKE) web/node_modules/.stamp && bin/testrun node web/src/features/logs/bench/measure.mjs

# go test fuzzes one target of one package at a time.
.PHONY: fuzz
fuzz: needs-go ## fuzz every target for FUZZTIME (30s)
	@git grep -Eo --untracked '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file target; do \
		echo "$${target#func } in $${file%/*}"; \
		$(GO) test -run '^$$' -fuzz "^$${target#func }$$" -fuzztime $(FUZZTIME) "./$${file%/*}" < /dev/null; \
	done

.PHONY: mutants
mutants: bin/testrun s3 ## take each guard out of the code and see a test turn red (about five minutes)
	@bin/testrun $(GO) run ./tests/mutants $(ARGS)

.PHONY: web-test
web-test: web-lint ## types, lint and unit tests of the web app (its tests in a browser: make test PKG=./tests/browser)
	@cd web && npm run --silent test

.PHONY: lint
lint: needs-go $(GOLANGCI) vuln web-lint ## formatting, go vet, golangci-lint, known vulnerabilities, types and lint of the web app
	@unformatted=$$(git ls-files -co --exclude-standard -- '*.go' | xargs gofmt -l); \
		test -z "$$unformatted" || { echo "not formatted by gofmt: $$unformatted"; exit 1; }
	@$(GO) vet ./...
	@! command -v gcc > /dev/null || $(NVML) vet -tags nvml ./agent ./agent/gpu/nvml
	@$(GOLANGCI) run ./...

# The database of vulnerabilities is on the network, and a machine without it
# can still build and test: only what it finds fails, not that it is out of reach.
.PHONY: vuln
vuln: $(GOVULN) ## look for known vulnerabilities (VULN=skip leaves it out)
	@if [ "$${VULN:-}" = skip ]; then echo "vuln: left out"; exit 0; fi; \
		status=0; said=$$(timeout 300 $(GOVULN) ./... 2>&1) || status=$$?; \
		case $$status in \
		0) echo "vuln: none known" ;; \
		3) echo "$$said"; exit 1 ;; \
		*) echo "vuln: not checked: $$(tail -n 1 <<< "$$said")" ;; \
		esac

.PHONY: generate
generate: needs-go ## make the generated files again from their sources
	@$(GO) generate ./...

.PHONY: generate-check
generate-check: needs-go ## fail if a generated file does not match its source
	@before=$$(mktemp); after=$$(mktemp); trap 'rm -f "$$before" "$$after"' EXIT; \
		$(hashes) > "$$before"; $(MAKE) generate; $(hashes) > "$$after"; \
		changed=$$(comm -13 "$$before" "$$after" | cut -c67-); \
		test -z "$$changed" || { echo "make generate changed: $$changed"; exit 1; }

hashes = git ls-files -co --exclude-standard -z | sort -z | xargs -0 sha256sum 2> /dev/null | sort

##@ The web app

.PHONY: web
web: web/dist/index.html ## build the web app, which the next make build compiles in
	@:

# A build is due when a source has changed, come or gone, or the API has.
web/dist/index.html: $(shell find web/src web/public web/build -not -name '*.gen.ts') web/index.html web/package.json web/vite.config.ts \
		openapi/openapi.yaml web/node_modules/.stamp
	@echo "building the web app"
	@cd web && npm run --silent gen > /dev/null && npm run --silent build

web/node_modules/.stamp: web/package-lock.json
	@echo "fetching the npm packages that the web app is built of, once"
	@cd web && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.stamp

.PHONY: web-lint
web-lint:
	@$(without-node) || exit 0; $(MAKE) -s web/node_modules/.stamp && cd web && \
		npm run --silent gen > /dev/null && npm run --silent typecheck && npm run --silent lint

# The server is of use without its pages: what cannot build them goes on, but not in CI.
.PHONY: pages
pages:
	@$(without-node) || exit 0; $(MAKE) web || { [ "$${CI:-}" != true ] && echo "the web app could not be built (see above): going on without it"; }

# Fails, having said why, where there is no Node.js that could build the web app.
without-node = node web/build/node-version.mjs 2> /dev/null || { \
	echo "web app: left out, it needs Node.js 20.19 or newer ($$(node --version 2> /dev/null || echo none here)): https://nodejs.org"; \
	[ "$${CI:-}" != true ] || exit 1; false; }

.PHONY: needs-go
needs-go:
	@command -v $(GO) > /dev/null || { echo "Go is not installed: see https://go.dev/doc/install (go.mod names the version)"; exit 1; }

# It is a program of this module, so go decides whether it is up to date.
.PHONY: bin/testrun
bin/testrun: needs-go
	@$(GO) build -v -o $@ ./tests/testkit/testrun 2>&1 | $(progress)

$(GOLANGCI): | needs-go
	@echo "building golangci-lint, once (about two minutes)"
	@$(GO) build -C tests/tools -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# The S3 server of the tests. What cannot fetch it goes on without those that need it, but
# not in CI.
.PHONY: s3
s3: ## build the S3 server that the tests start (make test does)
	@$(MAKE) $(VERSITYGW) || { [ "$${CI:-}" != true ] && echo "the S3 server of the tests could not be built (see above): going on without it"; }

$(VERSITYGW): | needs-go
	@echo "building the S3 server of the tests, once (about two minutes)"
	@$(GO) build -C tests/tools -v -o $@ github.com/versity/versitygw/cmd/versitygw 2>&1 | $(progress)

$(GOVULN): | needs-go
	@$(GO) build -C tests/tools -o $@ golang.org/x/vuln/cmd/govulncheck

# go build -v names each package as it is compiled: hundreds of lines the
# first time. This counts them, on one line where that is a terminal, and lets
# everything else (errors) through.
progress = awk -v tty=$$([ -t 1 ] && echo 1 || echo 0) ' \
	function show() { if (tty) printf "\r  %d modules fetched, %d packages compiled ", fetched, compiled; \
		else if ((fetched + compiled) % 100 == 0) printf "  %d modules fetched, %d packages compiled\n", fetched, compiled; fflush() } \
	/^go: downloading / { fetched++; show(); next } \
	/^[A-Za-z0-9_.~\/-]+$$/ { compiled++; show(); next } \
	{ if (tty && fetched + compiled) print ""; print } \
	END { if (tty && fetched + compiled) print "" }'
