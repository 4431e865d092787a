# Every command of a developer's day; `make` alone lists them. The modules come from go.work.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# Each of our tools has its own modfile, so that its dependencies never reach a module of ours. Such a tool runs
# outside the workspace, and inside a module: any module.
tool = GOWORK=off go tool -modfile="$(CURDIR)/tools/$(1).mod"
buf = cd services/rpc && $(call tool,buf) buf
# golangci-lint must itself see the workspace, so go only builds it and says where it is.
golangci-lint = "$$(cd tools && $(call tool,linters) -n golangci-lint)"

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Start everything in one process, with its own Postgres and Redis and demo data
	go run ./tools/run

.PHONY: run-split
run-split: ## Start the four services as separate processes, as in the cluster
	go run ./tools/run --split

.PHONY: build
build: ## Compile every program into bin/
	go build -o bin/ work

# The race detector makes a hash of a password three times as dear, and there is no race to find in one: it stays out of there.
race := -race -gcflags=golang.org/x/crypto/argon2=-race=false

# TESTFLAGS goes to go test, as in `make test TESTFLAGS='-run TestCreate -v'`.
.PHONY: test
test: prerequisites ## Run the tests of every module, with the race detector, on a real Postgres and Redis
	go test $(race) -p 2 -timeout 20m $(TESTFLAGS) $$(go list work | grep -v -e /tools/e2e -e /tools/kind)

.PHONY: e2e
e2e: prerequisites ## Run the end-to-end tests: the whole of Trackway, from outside
	cd tools && go test -count=1 -timeout 20m $(TESTFLAGS) ./e2e/...

# BENCHFLAGS goes to the program, as in `make bench BENCHFLAGS='--only "one task" --duration 10s'`.
.PHONY: bench
bench: prerequisites ## Measure what requests cost, beside the least that they could
	go run ./tools/bench $(BENCHFLAGS)

# REGISTRY=registry.example.com/trackway names them for another registry; `docker load` reads the archives.
.PHONY: images
images: ## Build a container image for each service, as an archive in bin/images, without Docker
	go run ./tools/images $(if $(REGISTRY),--registry $(REGISTRY))

.PHONY: kind-up
kind-up: ## Make a Kubernetes cluster on this machine
	k8s/cluster up

.PHONY: kind-deploy
kind-deploy: ## Build the images, install or upgrade Trackway in that cluster, and test it: http://localhost:8080
	k8s/cluster deploy

.PHONY: kind-down
kind-down: ## Delete that cluster
	k8s/cluster down

.PHONY: kind-e2e
kind-e2e: ## Install, upgrade, break and restore Trackway in a cluster of its own, while clients use it
	cd tools && go test -count=1 -timeout 30m $(TESTFLAGS) ./kind/...

.PHONY: prerequisites
prerequisites:
	@tools/prerequisites

.PHONY: lint
lint: ## Run the linters over every module
	IFS=$$'\n'; $(golangci-lint) run $$(go list -m -f '{{.Dir}}/...')

.PHONY: fmt
fmt: ## Format the Go code and the contract
	$(buf) format -w
	$(golangci-lint) fmt

.PHONY: generate
generate: generate-rpc generate-graph generate-openapi generate-docs generate-charts ## Write anew what is generated: protobuf, gRPC, GraphQL, OpenAPI, README's table, PARITY.md, charts' READMEs

# The old files go only when the new ones are there: a mistake in a .proto leaves a tree that builds.
.PHONY: generate-rpc
generate-rpc:
	rm -rf bin/rpc
	$(buf) generate -o "$(CURDIR)/bin/rpc"
	find services/rpc -name '*.pb.go' -delete
	cp -R bin/rpc/. services/rpc/
	rm -rf bin/rpc

.PHONY: generate-graph
generate-graph: generate-rpc
	cd graph && $(call tool,generators) gqlgen generate
	mkdir -p bin
	go run ./graph/cmd/schema >bin/schema.graphql
	mv bin/schema.graphql graph/schema.graphql

.PHONY: generate-openapi
generate-openapi: generate-rpc
	mkdir -p bin
	go run ./services/edge/cmd/openapi >bin/openapi.json
	mv bin/openapi.json services/edge/openapi.json

.PHONY: generate-docs
generate-docs: generate-graph generate-openapi
	go run ./tools/docs

.PHONY: generate-charts
generate-charts:
	cd tools && $(call tool,helm-docs) helm-docs --chart-search-root ../charts --sort-values-order file --log-level warning

.PHONY: tidy
tidy: ## Give every module the same versions, and tidy its go.mod
	go work sync
	IFS=$$'\n'; for dir in $$(go list -m -f '{{.Dir}}'); do (cd "$$dir" && GOWORK=off go mod tidy); done

.PHONY: verify
verify: ## Check all that must hold before a change lands, beside its tests
	tools/verify
