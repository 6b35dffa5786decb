# vnode: a visitor node for Jitsi Meet. `make help` lists the targets.

GO ?= go

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
# Empty outside a checkout: then the program names itself (cmd/internal/build).
STAMP = -X vnode/cmd/internal/build.stamped=$(VERSION)

.PHONY: help demo check test build tarball deb image release test-deb test-release lint mutate fuzz bench baseline table clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: ## set up and show a node at work: a real main Prosody, 500 visitors, half a minute
	@.ci/deps demo
	@$(GO) run ./cmd/demo $(ARGS)

check: ## vet, formatting, and every test that needs nothing but Go: no root, no other program
	$(GO) vet ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt would change these files'; exit 1; }
	$(GO) test ./...

# The paths of unix sockets have 107 bytes at most, of which tests need 60 for
# names of their own, and Chromium 45.
test: export TMPDIR := $(shell t=$${TMPDIR:-/tmp}; [ $${#t} -le 40 ] && echo "$$t" || echo /tmp)
test: export TEST_EVERYTHING := 1
test: ## set up and run all tests, race detector on, a real Prosody included
	@.ci/deps test
	$(GO) vet ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt would change these files'; exit 1; }
	$(GO) test -race -timeout 8m ./...
	cd .ci/pack && $(GO) vet ./... && $(GO) test ./...
	cd .ci/chart && $(GO) vet ./... && $(GO) test ./...
	$(GO) test -run Alloc ./internal/wire ./internal/socket ./fanout ./s2s ./muc/... ./visitor/... ./bench/crowd

build: ## build bin/vnode
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(STAMP)' -o bin/vnode ./cmd/vnode

# Packing has a module of its own: the program depends on nothing of it.
PACK = cd .ci/pack && $(GO) run . -out ../../bin

tarball: ## pack the static program, unit, man pages and docs for Debian and others, into bin/
	@$(PACK) $(ARGS) tarball

deb: ## Debian packages for amd64 and arm64, without root
	@$(PACK) $(ARGS) deb

image: ## container images for amd64 and arm64, without a daemon
	@$(PACK) $(ARGS) image

release: ## archives, packages, images, chart, SBOM and SHA256SUMS of a tree without changes
	@$(PACK) -release $(ARGS)

test-deb: ## install, upgrade and purge the package in a container with systemd: root, four minutes
	@.ci/test-deb $(ARGS)

test-release: ## build a release twice and compare the bytes: several minutes
	cd .ci/pack && TEST_RELEASE=1 $(GO) test -count 1 -timeout 30m -run TestReleaseTwice .

lint: ## formatting, and the linters of .golangci.yml
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt would change these files'; exit 1; }
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0 run ./...

# Packages whose tests must notice nearly every change of a line.
MUTATED ?= ./s2s/trust ./muc/room ./fanout ./internal/wire ./visitor

mutate: ## slow: change the code line by line, and list the changes that no test notices
	@for p in $(MUTATED); do \
	  echo "$$p"; $(GO) run github.com/go-gremlins/gremlins/cmd/gremlins@v0.5.0 unleash --timeout-coefficient 20 $$p | grep -E 'LIVED|NOT COVERED|efficacy|coverage' || exit 1; \
	done

fuzz: ## fuzz every parser for 30 s each
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime 30s $$p || exit 1; \
	  done; \
	done

# Times each benchmark and the short suite are run: benchstat needs 4.
COUNT ?= 4

bench: build ## the short load test and all Go benchmarks, against the last committed result
	$(GO) build -trimpath -ldflags '$(STAMP)' -o bin/bench ./cmd/bench
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 200ms -count $(COUNT) \
	  ./internal/wire ./internal/socket ./fanout ./s2s ./muc/... ./visitor/... ./bench/crowd >bin/bench.txt || { cat bin/bench.txt; exit 1; }
	bin/bench -short -transports tcp -repeat $(COUNT) -json bin/bench.json -gobench bin/suite.txt >/dev/null
	cat bin/suite.txt >>bin/bench.txt
	$(GO) tool benchstat $(wildcard docs/bench/bench.txt) bin/bench.txt

baseline: bench ## make what `make bench` has just measured the committed result
	mkdir -p docs/bench
	cp bin/bench.txt docs/bench/

table: build ## measure every promise of docs/BENCHMARKS.md: half an hour on a quiet machine
	$(GO) build -trimpath -ldflags '$(STAMP)' -o bin/bench ./cmd/bench
	mkdir -p docs/bench
	bin/bench table -repeat 3 -json docs/bench/table.json -html docs/bench/table.html >docs/bench/table.md; \
	  status=$$?; cat docs/bench/table.md; exit $$status

clean: ## remove what build made
	rm -rf bin
