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

# The flags of build, vet and test are the same on purpose (none): another
# -race, -trimpath or CGO_ENABLED compiles every dependency again.
GOTEST := $(GO) test -json -shuffle=on

# Tools are built once per version, outside the clone. Their versions are
# those of tests/tools/go.mod.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/peergpu/bin
version = $(shell awk '$$1 == "$(1)" { print $$2 }' tests/tools/go.mod)
GOLANGCI := $(TOOLS)/golangci-lint-$(call version,github.com/golangci/golangci-lint/v2)
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
build: needs-go ## compile the server and the agent into ./bin
	@$(GO) build -v -o bin/peergpu . 2>&1 | $(progress)
	@$(GO) build -v -o bin/peergpu-agent ./agent 2>&1 | $(progress)

.PHONY: clean
clean: ## remove what was built (the data of make run stays in ./data)
	rm -rf bin

##@ Check it

.PHONY: test
test: bin/testrun ## install and start what the tests need, run all, stop it, sum up
	@bin/testrun $(GOTEST) -timeout 10m $(ARGS) $(PKG)

.PHONY: test-race
test-race: bin/testrun ## the same with the race detector (compiles all again, several minutes)
	@bin/testrun $(GOTEST) -race -timeout 20m $(ARGS) $(PKG)

.PHONY: cover
cover: bin/testrun ## the same with coverage: its sum, and by line in bin/cover.html
	@bin/testrun $(GOTEST) -timeout 20m -coverpkg=./... -coverprofile=bin/cover.out $(ARGS) $(PKG)
	@$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	@$(GO) tool cover -func=bin/cover.out | tail -n 1

.PHONY: first-run
first-run: ## prove make run on an empty HOME: job, money, Ctrl-C, second start
	@tests/e2e/first_run.sh

.PHONY: bench
bench: bin/testrun ## time submit → first line → finished, each figure beside its floor
	@bin/testrun $(GO) test -run '^$$' -bench . -timeout 30m $(ARGS) ./tests/bench/...

# go test fuzzes one target of one package at a time.
.PHONY: fuzz
fuzz: needs-go ## fuzz every target for FUZZTIME (30s)
	@git grep -Eo --untracked '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file target; do \
		echo "$${target#func } in $${file%/*}"; \
		$(GO) test -run '^$$' -fuzz "^$${target#func }$$" -fuzztime $(FUZZTIME) "./$${file%/*}" < /dev/null; \
	done

.PHONY: lint
lint: needs-go $(GOLANGCI) vuln ## formatting, go vet, golangci-lint, known vulnerabilities
	@unformatted=$$(git ls-files -co --exclude-standard -- '*.go' | xargs gofmt -l); \
		test -z "$$unformatted" || { echo "not formatted by gofmt: $$unformatted"; exit 1; }
	@$(GO) vet ./...
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
