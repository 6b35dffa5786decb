# vnode: a visitor node for Jitsi Meet. `make help` lists the targets.

GO ?= go

.PHONY: help demo test build lint fuzz bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: ## set up and show a node at work: a real main Prosody, 500 visitors, half a minute
	@.ci/deps demo
	@$(GO) run ./cmd/demo $(ARGS)

test: ## set up and run all tests, race detector on, a real Prosody included
	@.ci/deps test
	$(GO) vet ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt would change these files'; exit 1; }
	$(GO) test -race -timeout 8m ./...
	$(GO) test -run Alloc ./internal/wire ./fanout ./s2s ./muc ./visitor/...

build: ## build bin/vnode
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/vnode ./cmd/vnode

lint: ## vet and formatting alone
	$(GO) vet ./...
	@gofmt -l .

fuzz: ## fuzz every parser for 30 s each
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime 30s $$p || exit 1; \
	  done; \
	done

bench: ## benchmarks of every hot path
	$(GO) test -run '^$$' -bench . -benchmem ./internal/wire ./fanout ./s2s ./muc ./visitor/...

clean: ## remove what build made
	rm -rf bin
