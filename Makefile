# SPDX-FileCopyrightText: The apikey-manager Authors
# SPDX-License-Identifier: Apache-2.0

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
# The time of the commit, not of the build, so that builds are reproducible.
DATE ?= $(shell TZ=UTC0 git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)
VERSION_PACKAGE := github.com/apikey-manager/apikey-manager/internal/version
LDFLAGS = -s -w -X $(VERSION_PACKAGE).version=$(VERSION) -X $(VERSION_PACKAGE).commit=$(COMMIT) -X $(VERSION_PACKAGE).date=$(DATE)
# Where build-installer writes.
DIST ?= dist
# The images are $(REGISTRY)/manager:$(TAG) and $(REGISTRY)/verifier:$(TAG). Each image holds the program in cmd/ of its name.
REGISTRY ?= ghcr.io/apikey-manager
TAG ?= $(VERSION)
IMAGES := manager verifier
IMAGE_PLATFORMS ?= linux/amd64 linux/arm64
CONTAINER_TOOL ?= docker
# The time for each fuzz target.
FUZZTIME ?= 30s
NOW ?= $(shell date -u +%Y-%m-%dT%H:%M:%SZ)

# The control plane binaries for tests and the demo: KUBEBUILDER_ASSETS if set, else those of make controlplane.
ASSETS := $(or $(KUBEBUILDER_ASSETS),$(CURDIR)/bin/k8s)
WITH_ASSETS = KUBEBUILDER_ASSETS="$(ASSETS)"
# The race detector needs cgo, which go disables if there is no C compiler.
RACE = $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# Integration tests spend most of their time waiting, so test twice as many packages in parallel as there are cores.
TEST_PACKAGES_IN_PARALLEL = -p=$(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
# Start the slowest packages first, so that the others run in parallel with them.
LONGEST_TESTS := ./test/integration
UNIT_TEST_PACKAGES := ./api/... ./cmd/... ./controllers/... ./hack/... ./internal/... ./test/docs ./test/monitoring ./test/schema
KUBECTL ?= $(or $(shell command -v kubectl 2>/dev/null),$(ASSETS)/kubectl)

# Tools are built from source into bin/ when they are first needed, and rebuilt when go.tools.mod changes.
CONTROLLER_GEN := bin/controller-gen
CRD_REF_DOCS := bin/crd-ref-docs
GOLANGCI_LINT := bin/golangci-lint
KUBE_API_LINT := bin/golangci-lint-kube-api-linter
GOVULNCHECK := bin/govulncheck
# Programs that tests run: see test/tools.
TEST_TOOLS := bin/helm bin/ko bin/krew bin/prometheus bin/promtool
TOOLS := $(CONTROLLER_GEN) $(CRD_REF_DOCS) $(GOLANGCI_LINT) $(KUBE_API_LINT) $(GOVULNCHECK) bin/benchstat bin/ginkgo

##@ General

.PHONY: help
help: ## Print this help.
	@awk 'BEGIN { FS = ":.*## "; print "Usage: make <target>" } \
		/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) }' $(MAKEFILE_LIST)

##@ Development

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Generate the DeepCopy methods of the API types.
	@$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: $(CONTROLLER_GEN) ## Generate the CRDs and the manager's ClusterRole from the markers in the code.
	@$(CONTROLLER_GEN) crd:maxDescLen=2000 paths=./api/... output:crd:dir=config/crd/bases
	@$(CONTROLLER_GEN) rbac:roleName=apikey-manager \
		paths=./controllers/... paths=./internal/webhook/... paths=./cmd/... output:rbac:dir=config/rbac
	@cp config/crd/bases/*.yaml charts/apikey-manager/files/crds/
	@cp config/rbac/role.yaml charts/apikey-manager/files/manager_role.yaml
	@cp config/prometheus/rules.yaml charts/apikey-manager/files/rules.yaml
	@go run ./hack/dashboard
	@go run ./hack/kubestatemetrics

.PHONY: docs
docs: $(CRD_REF_DOCS) ## Generate the pages about the API, metrics, flags and the kubectl plugin from the code.
	@mkdir -p docs
	@go run ./hack/chartdocs
	@$(CRD_REF_DOCS) --log-level=ERROR --source-path=api --config=hack/crd-ref-docs/config.yaml \
		--templates-dir=hack/crd-ref-docs --renderer=markdown --output-path=docs/api.md
	@go run ./hack/metricsdocs
	@go run ./hack/clidocs
	@go test -p=1 ./cmd/manager ./cmd/verifier -run='^TestFlags_AreDocumented$$' -update

.PHONY: site
site: bin/hugo ## Build the documentation as a website into bin/site, which works without a server, and check its links.
	@hack/site/build

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code.
	@$(GOLANGCI_LINT) fmt

.PHONY: vet
vet: ## Run go vet.
	@go vet ./...

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Lint the code.
	@$(GOLANGCI_LINT) run

.PHONY: lint-fix
lint-fix: $(GOLANGCI_LINT) ## Lint the code and apply automatic fixes.
	@$(GOLANGCI_LINT) run --fix

.PHONY: lint-api
lint-api: $(KUBE_API_LINT) ## Lint the API types against the Kubernetes API conventions.
	@$(KUBE_API_LINT) run --config .golangci-kal.yml ./api/...

.PHONY: tidy
tidy: ## Tidy go.mod and go.sum.
	@go mod tidy

.PHONY: run
run: controlplane ## Start a control plane, the manager, the verifier and a gateway on this machine, and run until Ctrl-C.
	@hack/gateways/build caddy
	@echo "compiling, which takes minutes the first time"
	@$(WITH_ASSETS) go run -trimpath ./hack/demo --stay

.PHONY: demo
demo: controlplane ## Run the demo on this machine: a scenario of kubectl commands.
	@hack/gateways/build caddy
	@echo "compiling, which takes minutes the first time"
	@$(WITH_ASSETS) go run -trimpath ./hack/demo

.PHONY: plan
plan: ## Print what the manager would do for FILE=keys.yaml at NOW=2027-02-28T12:00:00Z.
	@[[ -n "$(FILE)" ]] || { echo "make plan: FILE is not set. Usage: make plan FILE=keys.yaml [NOW=2027-02-28T12:00:00Z]" >&2; exit 2; }
	@go run ./hack/plan --file "$(FILE)" --now "$(NOW)"

##@ Test

.PHONY: test
test: controlplane gateways $(TEST_TOOLS) ## Run all tests with the race detector, on a real control plane.
	@$(if $(RACE),,echo "make test: running without the race detector, because there is no C compiler")
	@echo "compiling, which takes minutes the first time"
	@$(WITH_ASSETS) go test $(RACE) -shuffle=on -timeout=30m $(TEST_PACKAGES_IN_PARALLEL) $(LONGEST_TESTS) ./...
	@$(if $(RACE),go test -run='^TestGenerated$$' ./test/schema) # again without -race, with all of its objects

.PHONY: test-unit
test-unit: ## Run the unit tests. They need no control plane and take seconds when nothing has to be compiled.
	@go test -short $(UNIT_TEST_PACKAGES)

.PHONY: test-fault
test-fault: controlplane ## Inject faults into managers, API server, etcd and network for ten minutes. SEED repeats a run.
	@echo "compiling, which takes minutes the first time"
	@$(WITH_ASSETS) go test ./test/fault -count=1 -v -timeout=10m -args -full $(if $(SEED),-seed=$(SEED))

# A cluster counts only if it is named on the command line or in E2E_KUBECONFIG, so that the test never runs on your current context.
E2E_KUBECONFIG ?= $(if $(filter command,$(origin KUBECONFIG)),$(KUBECONFIG))

.PHONY: test-e2e
test-e2e: controlplane ## Test on a real cluster: a node of hack/node, one of kind, or that of KUBECONFIG=... with LOAD_IMAGE=command.
	@$(WITH_ASSETS) E2E_KUBECONFIG='$(E2E_KUBECONFIG)' LOAD_IMAGE='$(LOAD_IMAGE)' hack/e2e/run

.PHONY: bench
bench: controlplane ## Benchmark the manager against a bare client. BENCH_ARGS are passed to test/load.
	@echo "compiling, which takes minutes the first time"
	@$(WITH_ASSETS) go run -trimpath ./test/load $(BENCH_ARGS)

.PHONY: bench-verifier
bench-verifier: controlplane ## Benchmark the verifier against a gRPC server that always answers OK. BENCH_ARGS are passed to test/load/verdicts.
	@echo "compiling, which takes minutes the first time"
	@$(WITH_ASSETS) go run -trimpath ./test/load/verdicts $(BENCH_ARGS)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME, one target per core at a time.
	@hack/fuzz/run $(FUZZTIME)

.PHONY: golden
golden: ## Update the golden files. Review the diff before you commit it.
	@go test ./internal/cli ./internal/keys ./internal/mail ./hack/plan -update
	@go test ./test/chart -update

.PHONY: cover
cover: controlplane ## Run all tests and print the code coverage. bin/cover.html shows it by line.
	@$(WITH_ASSETS) go test -timeout=30m -coverpkg=./api/...,./cmd/...,./controllers/...,./internal/... -coverprofile=bin/cover.out ./...
	@go tool cover -html=bin/cover.out -o bin/cover.html
	@go tool cover -func=bin/cover.out | tail -1

##@ Verify

# Generators run before linters, one after the other.
.PHONY: verify
verify: ## Check that generated files are up to date, the linters pass and the working tree is clean.
	@for target in generate manifests docs tidy lint lint-api; do echo "verify: $$target"; $(MAKE) $$target || exit 1; done
	@echo "verify: clean tree"
	@git diff --exit-code || { echo "verify: commit the changes above" >&2; exit 1; }
	@[[ -z "$$(git status --porcelain)" ]] || { git status --short; echo "verify: commit or remove these files" >&2; exit 1; }

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Check for known vulnerabilities. Needs access to the Go vulnerability database on the internet.
	@$(GOVULNCHECK) ./...

##@ Build

.PHONY: build
build: ## Build bin/manager, bin/verifier and bin/kubectl-apikey.
	@go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/manager ./cmd/verifier ./cmd/kubectl-apikey

.PHONY: images
images: bin/ko ## Build the images for IMAGE_PLATFORMS into dist/images, as OCI layouts and tar files, without a container engine.
	@echo "compiling, which takes minutes the first time"
	@go run ./hack/images --programs='$(IMAGES)' --platforms='$(IMAGE_PLATFORMS)' --registry='$(REGISTRY)' --tag='$(TAG)' \
		--version='$(VERSION)' --commit='$(COMMIT)' --created='$(DATE)' --ldflags='$(LDFLAGS)'

.PHONY: prove-images
prove-images: bin/ko ## Check that building the images of this commit again, with an empty cache, gives the same files.
	@hack/images/prove-reproducible

.PHONY: prove-dockerfile
prove-dockerfile: ## Build the Dockerfile with buildah, without a registry, and check the images. Needs root.
	@hack/images/prove-dockerfile $(IMAGES)

.PHONY: docker-build
docker-build: ## Build the images with CONTAINER_TOOL and the Dockerfile.
	@for image in $(IMAGES); do $(CONTAINER_TOOL) build --build-arg LDFLAGS='$(LDFLAGS)' --target $$image \
		--tag $(REGISTRY)/$$image:$(TAG) . || exit 1; done

.PHONY: docker-push
docker-push: ## Push the images with CONTAINER_TOOL.
	@for image in $(IMAGES); do $(CONTAINER_TOOL) push $(REGISTRY)/$$image:$(TAG) || exit 1; done

.PHONY: build-installer
build-installer: kubectl ## Write DIST/install.yaml: all manifests of the installation, with the images of REGISTRY and TAG.
	@mkdir -p '$(DIST)'
	@$(INSTALLER) >'$(DIST)/install.yaml'

# The changelog must have a section of the version.
RELEASE = go run ./hack/release --version='$(VERSION)' --created='$(DATE)' --ldflags='$(LDFLAGS)' --registry='$(REGISTRY)'

.PHONY: release
release: bin/helm bin/ko kubectl ## Write the release VERSION=v0.1.0 to dist: manifests, chart, plugin, images, SBOMs, checksums and notes.
	@[[ -z "$$(git status --porcelain)" ]] || { echo "make release: commit or remove the changes first" >&2; exit 1; }
	@$(RELEASE) --check
	@rm -rf dist
	@$(MAKE) images build-installer DIST=dist TAG='$(VERSION)'
	@$(RELEASE)

##@ Deployment

# Prints config/default with the images of REGISTRY and TAG.
INSTALLER = $(KUBECTL) kustomize config/default | sed $(foreach image,$(IMAGES),-e 's|image: $(image):latest$$|image: $(REGISTRY)/$(image):$(TAG)|')

.PHONY: install
install: kubectl ## Install the CRDs on the cluster of your kubeconfig.
	@$(KUBECTL) apply --server-side -k config/crd

.PHONY: uninstall
uninstall: kubectl ## Delete the CRDs and the admission policies, and with them all APIKeys, their Secrets and all Accounts.
	@for part in crd secret-template key-export account-use; do $(KUBECTL) delete --ignore-not-found -k config/$$part || exit 1; done

.PHONY: deploy
deploy: kubectl ## Install the CRDs, the manager and the verifier with the images of REGISTRY and TAG.
	@$(INSTALLER) | $(KUBECTL) apply --server-side -f -

# Selects by label, so that the CRDs stay, and with them the keys. The policies stay as well, because the next manager carries
# out what users declare while no manager runs.
.PHONY: undeploy
undeploy: kubectl ## Delete the manager and the verifier; gateways then reject all requests. CRDs, policies, keys and Secrets stay.
	@$(INSTALLER) | $(KUBECTL) delete --ignore-not-found --selector 'app.kubernetes.io/component notin (crd, policy)' -f -

.PHONY: samples
samples: kubectl ## Apply the samples.
	@$(KUBECTL) apply -f config/samples

##@ Tools

.PHONY: controlplane
controlplane: ## Download kube-apiserver, etcd, kube-controller-manager and kubectl into bin/k8s, or build them. Does nothing if KUBEBUILDER_ASSETS is set.
	@hack/controlplane/build

.PHONY: gateways
gateways: ## Build or download the gateways for tests into bin/gateways.
	@hack/gateways/build

.PHONY: kubectl
kubectl:
	@command -v "$(KUBECTL)" >/dev/null || hack/controlplane/build
	@command -v "$(KUBECTL)" >/dev/null || { echo "make kubectl: $(KUBECTL) does not exist: install kubectl, or unset KUBEBUILDER_ASSETS to build it" >&2; exit 1; }

.PHONY: tools
tools: $(TOOLS) ## Build the linters and generators into bin/.

# The package of a tool is the line of go.tools.mod that ends with the tool's name.
$(TOOLS): go.tools.mod
	@echo "building $@ (the linters take one or two minutes)"
	@go build -modfile=go.tools.mod -o $@ $$(sed -nE 's|^[[:space:]]+([^ ]+/$(@F))$$|\1|p' go.tools.mod)
	@touch $@

# Each of these has a module of its own in hack/tools, because their dependencies do not fit with those of the other tools.
bin/%: hack/tools/%/go.mod
	@echo "building $@ (minutes the first time)"
	@cd hack/tools/$* && go build -ldflags '-s -w' -o $(CURDIR)/bin/ tool
	@touch $@

# Both come from one package of Debian or from one module.
bin/prometheus bin/promtool &: hack/tools/prometheus/build hack/tools/prometheus/go.mod
	@hack/tools/prometheus/build
	@touch bin/prometheus bin/promtool

.PHONY: clean
clean: ## Delete build output, except for the control plane and the gateways, which take minutes to build.
	@rm -rf dist bin/manager bin/verifier bin/kubectl-apikey bin/cover.* $(TOOLS)
