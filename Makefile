# Every developer tool is a Go module of its own under tools/, built once into .cache/bin.
BIN := $(CURDIR)/.cache/bin
TOOLS := $(addprefix $(BIN)/,promtool amtool pint prometheus alertmanager docker-compose docker-buildx golangci-lint dashboard-linter govulncheck actionlint)
export PATH := $(BIN):$(PATH)
# Of this tree alone: what the linter remembers of another one with the same files, it tells with the paths of that.
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint
FUZZTIME ?= 30s
VERSION ?= $(shell git describe --always --dirty)
PROGRAMS := exporter remediator proxy setup runner lab

.PHONY: help demo demo-down bench chaos soak slots test e2e flip lint dashboards fuzz vuln build dist kills
help:       ## list these commands
	@sed -n 's/^\([a-z0-9-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 18
demo:       ## start the whole stack in a simulated world, break it six ways and watch it heal
	@go run ./e2e/demo up
demo-down:  ## remove every container, volume and network of the demo
	@go run ./e2e/demo down
bench:      ## reaction, cost idle and loaded, scrape, flood, webhook, log scan and start, in one table (14 min); PART=scrape,webhook for some, AGAINST='sh healer.sh' for another healer beside it (10 min more)
	@mkdir -p .cache && go run ./e2e/bench -only='$(PART)' -against='$(AGAINST)' -benchfmt=.cache/bench.txt -json=.cache/bench.json
chaos: $(TOOLS) ## every fault that there is, alone and in pairs, on MACHINES (2) of their own: root, dockerd, chronyd; ONLY='retry loop' for one (50 min)
	@go run ./e2e/chaos $(if $(ONLY),--only='$(ONLY)',--machines=$(or $(MACHINES),2)) --markdown=.cache/chaos.md
soak: $(TOOLS) ## jobs and faults at random for SOAK (30m), from SEED: nothing may grow, no job be harmed
	@go run ./e2e/chaos --soak=$(or $(SOAK),30m) --seed=$(or $(SEED),0)
test: lint $(TOOLS) ## everything: vet, lint, unit, rule, routing and Compose tests, then the end-to-end tests
	go test -race -shuffle=on -timeout=20m ./cmd/... ./internal/... ./rules/... ./compose/... ./docs/...
	go test -count=1 -run='TestModel$$' ./internal/remedy # all of it: the race detector leaves a twentieth
	cd dashboards && go test -shuffle=on ./...
	cd tools/govulncheck && go test -shuffle=on ./...
	$(MAKE) vuln
	$(MAKE) e2e
# One package at a time: two stacks at once would measure each other.
e2e: $(TOOLS) ## the end-to-end tests alone, on the real dockerd, Prometheus and Alertmanager
	go test -count=1 -p=1 -timeout=20m -v ./e2e/...
slots: $(TOOLS) ## 200 jobs in a row through two slots while everything breaks that can, then restarts, stops, an upgrade, a hostile job (30 min)
	go test -count=1 -timeout=90m -v ./e2e/slots -jobs=200
flip: $(BIN)/promtool ## change every comparison, threshold and duration of the rules, one at a time: some test must fail for each (4 min)
	go test -count=1 -timeout=30m -tags=flip -run=TestEveryFlipIsCaught ./rules
fuzz:       ## every fuzz target of the tree, each for FUZZTIME (30s); what is found becomes a seed in its testdata/fuzz: commit it
	@found=0; for file in $$(grep -rlE '^func Fuzz' --include='*_test.go' .); do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
	    found=$$((found+1)); echo "$$target in $$(dirname $$file)"; \
	    go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) $$(dirname $$file) || exit 1; \
	  done; done; echo "$$found fuzz targets, each $(FUZZTIME)"; test $$found -gt 0
vuln: $(BIN)/govulncheck ## whether anything that is known to be vulnerable is called; says so loudly where the database does not answer
	@govulncheck .
kills:      ## kill the remediator 600 times at random moments, and play 100,000 random sequences against its promises (3 min)
	go test -count=1 -timeout=15m -v -run='TestKill9AnyTime|TestModel$$' ./internal/remedy -kills=600 -model.runs=100000
lint: $(BIN)/golangci-lint $(BIN)/actionlint ## go vet, golangci-lint, actionlint
	go vet ./...
	golangci-lint run ./...
	actionlint
	cd dashboards && golangci-lint run --config=../.golangci.yml ./...
dashboards: ## write dashboards/*.json anew, after a change of their sources or of a threshold
	cd dashboards && go run .
build:      ## the six programs, into bin/
	@for p in $(PROGRAMS); do echo "bin/ghostrunner-$$p"; CGO_ENABLED=0 go build -trimpath \
	  -ldflags "-X github.com/prometheus/common/version.Version=$(VERSION)" \
	  -o bin/ghostrunner-$$p ./cmd/$$p || exit 1; done

dist: $(BIN)/cyclonedx-gomod ## what a release has beside its images, into dist/: programs for amd64 and arm64, checksums, bill of materials
	@rm -rf dist && mkdir dist
	@for arch in amd64 arm64; do name=ghostrunner_$(VERSION)_linux_$$arch; mkdir dist/$$name; for p in $(PROGRAMS); do echo "dist/$$name/ghostrunner-$$p"; \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -ldflags "-s -w -X github.com/prometheus/common/version.Version=$(VERSION)" \
	    -o dist/$$name/ghostrunner-$$p ./cmd/$$p || exit 1; done; cp LICENSE README.md INCIDENTS.md dist/$$name/; \
	  tar --create --gzip --owner=0 --group=0 --numeric-owner --sort=name --mtime="@$$(git log -1 --format=%ct)" --directory=dist --file=dist/$$name.tar.gz $$name || exit 1; \
	  rm -rf dist/$$name; done
	@cyclonedx-gomod mod -json -licenses -type application -output dist/ghostrunner_$(VERSION)_sbom.cdx.json .
	@cd dist && sha256sum *.tar.gz *.json > SHA256SUMS && cat SHA256SUMS

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
