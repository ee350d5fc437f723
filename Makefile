# Each developer tool is a Go module of its own under tools/, built once into .cache/bin.
BIN := $(CURDIR)/.cache/bin
TOOLS := $(addprefix $(BIN)/,promtool amtool pint prometheus alertmanager docker-compose docker-buildx golangci-lint dashboard-linter govulncheck actionlint)
export PATH := $(BIN):$(PATH)
# The linter's cache holds paths, so it must not be shared with another checkout.
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint
FUZZTIME ?= 30s
VERSION ?= $(shell git describe --always --dirty)
PROGRAMS := exporter remediator proxy setup runner lab
# The packages whose tests write generated files with -update.
GENERATORS = $(sort $(dir $(shell grep -rl --include='*_test.go' 'Bool."update"' .)))

.PHONY: help demo demo-down generate test lint e2e vuln build dist bench chaos soak crash-test fuzz images-test mutation-test slot-soak
help:          ## list these targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20
demo:          ## start the whole stack in a simulated world, inject six faults and show how they are fixed
	@go run ./e2e/demo up
demo-down:     ## remove the containers, volumes and networks of the demo
	@go run ./e2e/demo down
generate:      ## write everything that is generated: the tables in docs/, the dashboards, the golden files
	cd dashboards && go run .
	go test -count=1 -run='Golden|Generated' $(GENERATORS) -update
build:         ## build all programs into bin/
	@for p in $(PROGRAMS); do echo "bin/ghostrunner-$$p"; CGO_ENABLED=0 go build -trimpath \
	  -ldflags "-X github.com/prometheus/common/version.Version=$(VERSION)" -o bin/ghostrunner-$$p ./cmd/$$p || exit 1; done
dist: $(BIN)/cyclonedx-gomod ## build a release without its images into dist/: programs, checksums, bill of materials
	@tools/dist $(VERSION) $(PROGRAMS)

test: lint $(TOOLS) ## run everything that CI runs: linters, unit tests, rules, routing, Compose files, end-to-end tests
	go test -race -shuffle=on -timeout=20m ./cmd/... ./internal/...
	go test -shuffle=on -timeout=20m ./rules/... ./compose/... ./docs/...
	go test -count=1 -run='TestModel$$' ./internal/remedy # with the race detector it runs a twentieth
	cd dashboards && go test -shuffle=on ./...
	cd tools/govulncheck && go test -shuffle=on ./...
	$(MAKE) vuln e2e
lint: $(BIN)/golangci-lint $(BIN)/actionlint ## run golangci-lint, which includes go vet, and actionlint
	golangci-lint run ./...
	actionlint
	cd dashboards && golangci-lint run --config=../.golangci.yml ./...
vuln: $(BIN)/govulncheck ## check for calls of code with known vulnerabilities
	@govulncheck .
# One package at a time: two stacks at once would disturb each other.
e2e: $(TOOLS)  ## run the end-to-end tests, on the real Docker engine, Prometheus and Alertmanager
	go test -count=1 -p=1 -timeout=20m -v ./e2e/...

# What follows takes longer than CI has. CONTRIBUTING.md says when to run it.
bench:         ## measure every promised figure (14 min); PART=scrape,webhook for some, AGAINST='sh healer.sh' to compare
	@mkdir -p .cache && go run ./e2e/bench -only='$(PART)' -against='$(AGAINST)' -benchfmt=.cache/bench.txt -json=.cache/bench.json
chaos: $(TOOLS) ## inject every fault, alone and in pairs, on MACHINES=2 simulated machines (50 min); needs root; ONLY='retry loop' for one
	@go run ./e2e/chaos $(if $(ONLY),--only='$(ONLY)',--machines=$(or $(MACHINES),2)) --markdown=.cache/chaos.md
soak: $(TOOLS) ## inject random faults for SOAK=30m while jobs run; nothing may grow and no job be harmed; SEED=1 repeats a run
	@go run ./e2e/chaos --soak=$(or $(SOAK),30m) --seed=$(or $(SEED),0)
crash-test:    ## kill the remediator 600 times at random moments, and play 100,000 random sequences against its promises (3 min)
	go test -count=1 -timeout=15m -v -run='TestKill9AnyTime|TestModel$$' ./internal/remedy -kills=600 -model.runs=100000
fuzz:          ## run every fuzz target for FUZZTIME=30s; commit the inputs that it adds to testdata/fuzz
	@tools/fuzz $(FUZZTIME)
images-test: $(TOOLS) ## build and start the images of both architectures (3 min); CI builds only its own
	go test -count=1 -timeout=20m -v -run='TestImages$$' ./e2e -arch=amd64,arm64
mutation-test: $(BIN)/promtool ## change every comparison, threshold and duration of the rules, one at a time: a test must fail for each (5 min)
	go test -count=1 -timeout=30m -tags=mutation -run=TestEveryMutationIsCaught ./rules
slot-soak: $(TOOLS) ## run 200 jobs through two slots while all slot faults are injected, then restart, stop and upgrade (30 min)
	go test -count=1 -timeout=90m -v ./e2e/slots -jobs=200

# The tools. Prometheus without its service discoveries builds in a quarter of the time and is otherwise the same.
tool = cd tools/$(1) && echo "building $(2) from source (once)" && CGO_ENABLED=0 go build -trimpath -o $(BIN)/$(2)
$(BIN)/prometheus: tools/prometheus/go.mod
	@$(call tool,prometheus,prometheus) -tags remove_all_sd github.com/prometheus/prometheus/cmd/prometheus
$(BIN)/promtool: tools/prometheus/go.mod
	@$(call tool,prometheus,promtool) -tags remove_all_sd github.com/prometheus/prometheus/cmd/promtool
$(BIN)/alertmanager: tools/alertmanager/go.mod
	@$(call tool,alertmanager,alertmanager) github.com/prometheus/alertmanager/cmd/alertmanager
$(BIN)/amtool: tools/amtool/go.mod
	@$(call tool,amtool,amtool) github.com/prometheus/alertmanager/cmd/amtool
$(BIN)/pint: tools/pint/go.mod
	@$(call tool,pint,pint) github.com/cloudflare/pint/cmd/pint
$(BIN)/docker-compose: tools/compose/go.mod
	@$(call tool,compose,docker-compose) -ldflags "-X github.com/docker/compose/v2/internal.Version=v2.40.3" github.com/docker/compose/v2/cmd
$(BIN)/docker-buildx: tools/buildx/go.mod
	@$(call tool,buildx,docker-buildx) -ldflags "-X github.com/docker/buildx/version.Version=v0.29.1" github.com/docker/buildx/cmd/buildx
$(BIN)/golangci-lint: tools/golangci-lint/go.mod
	@$(call tool,golangci-lint,golangci-lint) github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(BIN)/dashboard-linter: tools/dashboard-linter/go.mod
	@$(call tool,dashboard-linter,dashboard-linter) github.com/grafana/dashboard-linter
$(BIN)/govulncheck: tools/govulncheck/go.mod tools/govulncheck/main.go
	@$(call tool,govulncheck,govulncheck) .
$(BIN)/actionlint: tools/actionlint/go.mod
	@$(call tool,actionlint,actionlint) github.com/rhysd/actionlint/cmd/actionlint
$(BIN)/cyclonedx-gomod: tools/cyclonedx-gomod/go.mod
	@$(call tool,cyclonedx-gomod,cyclonedx-gomod) github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
