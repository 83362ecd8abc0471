# The commands of the project. `make help` lists them.

FUZZTIME ?= 60s

# Static, without the path of the checkout, and without the databases of Caddy's ACME
# server, as xcaddy builds.
# BUILD_VERSION=v1.2.3 names the version where Go sees no repository: in an unpacked archive,
# or in `docker build`.
TAGS = nobadger,nomysql,nopgx
RELEASE_FLAGS = -trimpath -tags $(TAGS) -ldflags '-s -w$(if $(BUILD_VERSION), -X $(BUILD_INFO).version=$(BUILD_VERSION))'
RELEASE_BUILD = CGO_ENABLED=0 go build $(RELEASE_FLAGS)
BUILD_INFO = github.com/caddy-veeam/veeam-auth/internal/buildinfo

.PHONY: help build slim xcaddy test test-fast test-deploy lint fuzz demo generate differential log-changes alerts growth page-figures page-growth page-cost scrape \
	release packages reproducible pin check-pin test-release cross sign verify vulnerabilities vulnerabilities-offline

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 17

build: ## build bin/caddy with the versions of go.sum
	go build -o bin/caddy ./cmd/caddy

slim: bin/veeam-auth ## build bin/veeam-auth, with only those of Caddy's modules that a sidecar needs

.PHONY: bin/veeam-auth
bin/veeam-auth:
	$(RELEASE_BUILD) -o $@ ./cmd/veeam-auth

# PROGRAM of cmd, as a release has it, to the file OUT.
.PHONY: program
program:
	$(RELEASE_BUILD) -o $(OUT) ./cmd/$(PROGRAM)

# Compiles what its packages import of others.
.PHONY: others
others:
	CGO_ENABLED=0 go list -tags $(TAGS) -deps -f '{{with .Module}}{{if .Main}}{{range $$.Imports}}{{println .}}{{end}}{{end}}{{end}}' ./cmd/veeam-auth | \
		grep -v -E "^$$(go list -m)(/|$$)" | sort -u | xargs env $(RELEASE_BUILD)

# The licences of what is linked into it, for the image.
.PHONY: bin/THIRD-PARTY-LICENSES.txt
bin/THIRD-PARTY-LICENSES.txt:
	go run -C tools/deploy ./licences $(CURDIR)/bin/veeam-auth $(CURDIR)/$@

# The platforms of a release; TARGETS=linux/amd64,linux/arm64 makes those only.
TARGETS ?= darwin/amd64,darwin/arm64,linux/amd64,linux/arm64,windows/amd64

# VERSION=v1.2.3 requires that version, SNAPSHOT=1 accepts changes that are not committed.
# COLD=1 has `make reproducible` compile what others wrote twice, too.
RELEASE = go run -C tools/deploy ./release -root $(CURDIR) -targets $(TARGETS)
RELEASE_OPTIONS = $(if $(VERSION),-version $(VERSION)) $(if $(SNAPSHOT),-snapshot)

release: ## make dist/: archives, packages, image, chart, lists, checksums; docs/release.md
	$(RELEASE) $(RELEASE_OPTIONS)

packages: ## make dist/ with deb and rpm only
	$(RELEASE) $(RELEASE_OPTIONS) -only packages

reproducible: ## build the commit in two folders and compare dist/ bit for bit
	$(RELEASE) -reproducible $(if $(COLD),-cold)

pin: ## write into the Dockerfile the digest of the image that it builds in; asks the registry
	$(RELEASE) -pin

check-pin: ## check that digest at the registry, as the workflow of a release does first
	$(RELEASE) -check-pin

test-release: ## test what makes a release
	go test -C tools/deploy -timeout 30m ./...

comma = ,

# Tests that handle processes as Unix does are vetted where they run.
cross: ## build and vet for the platforms of a release but this one, TARGETS=windows/amd64 for some
	set -e; for target in $(filter-out $(shell go env GOHOSTOS)/$(shell go env GOHOSTARCH),$(subst $(comma), ,$(TARGETS))); do \
		echo "== $$target"; \
		export GOOS=$${target%/*} GOARCH=$${target#*/}; \
		$(RELEASE_BUILD) -o /dev/null ./cmd/veeam-auth; \
		$(RELEASE_BUILD) -o /dev/null ./cmd/caddy; \
		CGO_ENABLED=0 go vet -trimpath -tags $(TAGS) $$(go list ./... | grep -v -e /test/e2e/ -e /test/load); \
	done

sign: ## sign dist/SHA256SUMS with the SSH key KEY
	rm -f dist/SHA256SUMS.sig
	ssh-keygen -Y sign -f $(or $(KEY),$(error KEY=file of an SSH key is missing)) -n veeam-auth-release dist/SHA256SUMS

verify: ## check dist/ against SHA256SUMS and its signature by SIGNER in the file SIGNERS
	ssh-keygen -Y verify -f $(or $(SIGNERS),$(error SIGNERS=file with the allowed signers is missing)) \
		-I $(or $(SIGNER),$(error SIGNER=name of the signer is missing)) -n veeam-auth-release \
		-s dist/SHA256SUMS.sig < dist/SHA256SUMS
	cd dist && sha256sum --strict --check SHA256SUMS

vulnerabilities: ## look for known vulnerabilities in what is built; asks vuln.go.dev
	go tool -modfile=tools/go.mod govulncheck ./...

# The module of the database is what the proxy of Go has: where vuln.go.dev is not reachable.
vulnerabilities-offline: ## the same with the database as a Go module, from GOPROXY
	rm -rf bin/vulndb
	go run golang.org/x/vulndb/cmd/indexdb@latest -out $(CURDIR)/bin/vulndb \
		-vulns "$$(go mod download -json golang.org/x/vulndb@latest | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')/data/osv"
	go tool -modfile=tools/go.mod govulncheck -db file://$(CURDIR)/bin/vulndb ./...

xcaddy: ## build bin/caddy with xcaddy
	./xcaddy.sh

test: ## run every check and test, with the race detector
	./test/run

# Tests wait more than they calculate, so that more of them run than there are processors.
# Random tests try a fifth of their cases; go vet is a part of lint.
test-fast: ## run the tests of the packages, without processes and browsers
	go test -short -parallel 8 -vet=off -ldflags='-s -w' ./caddymodule/... ./internal/... ./metrics ./policy/... ./tokencache ./test

test-deploy: ## run the image, the pod, the unit, the packages, compose and the chart; requires root. INSTALL=1 installs what it needs
	./test/deploy/run $(if $(INSTALL),--install)

lint: ## run golangci-lint
	./test/lint

fuzz: ## fuzz every parser, FUZZTIME each
	./test/fuzz -fuzztime $(FUZZTIME)

differential: ## compare a million random requests: what is executed is what was decided
	go test ./caddymodule -run Differential -requests 1000000 -timeout 90m -v

log-changes: ## change, remove, add and swap each of 10,000 lines of a log chain, and each bit of them: all are found
	go test ./internal/logchain -run 'TestEveryChangedBitIsFound|TestInTenThousandLines' -every-change -timeout 120m -v

growth: ## measure 100,000 accounts and 1,000 sites in one process
	go run ./test/load growth

.PHONY: compare
compare: ## compare a request through veeam_auth, Caddy, nginx and others; requires wrk (25 minutes)
	go run ./test/load compare

page-figures: ## measure the page for operators in Chromium
	go test ./test/e2e/browser -tags figures -run PageFigures -count=1 -v

page-growth: ## update the page for FOR (10m): its memory and DOM nodes before and after
	go test ./test/e2e/browser -tags figures -run PageGrowth -grow $(or $(FOR),10m) -timeout 90m -count=1 -v

page-cost: ## compare requests with the page for operators on and off
	go test ./caddymodule -run '^$$' -bench '^BenchmarkPage$$' -benchtime 3s -count 3

scrape: ## measure a scrape of /metrics with 100 accounts and 50 clients
	go test ./test/e2e/alerts -run '^$$' -bench '^BenchmarkScrape$$' -benchtime 50x

.PHONY: differential-forward
differential-forward: ## compare 200,000 random exchanges: the forwarder does what reverse_proxy does
	go test ./caddymodule/forwarder -run Differential -exchanges 200000 -timeout 120m -v
	go test ./caddymodule/forwarder -tags mutations -run FindsEachMutation -timeout 60m -v

alerts: ## let sixteen outages raise their alerts in Prometheus, with real durations (15 minutes)
	go test ./test/e2e/alerts -run EachOutage -earnest -timeout 30m -v

demo: ## run Caddy in front of the emulated servers until Ctrl-C
	go run ./test/demo

generate: ## generate the indexes of operations
	go generate ./...
