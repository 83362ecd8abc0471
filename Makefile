# The commands of the project. `make help` lists them.

FUZZTIME ?= 60s

# Static, without the path of the checkout, and without the databases of Caddy's ACME
# server, as xcaddy builds.
RELEASE_FLAGS = -trimpath -tags nobadger,nomysql,nopgx -ldflags '-s -w'

.PHONY: help build slim xcaddy test test-fast lint fuzz demo generate differential

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## build bin/caddy with the versions of go.sum
	go build -o bin/caddy ./cmd/caddy

slim: bin/veeam-auth ## build bin/veeam-auth, with only those of Caddy's modules that a sidecar needs

.PHONY: bin/veeam-auth
bin/veeam-auth:
	CGO_ENABLED=0 go build $(RELEASE_FLAGS) -o $@ ./cmd/veeam-auth

xcaddy: ## build bin/caddy with xcaddy
	./xcaddy.sh

test: ## run every check and test, with the race detector
	./test/run

test-fast: ## run the tests of the packages, without processes and browsers
	go vet ./...
	go test ./caddymodule/... ./internal/... ./metrics ./policy/... ./tokencache ./test

lint: ## run golangci-lint
	./test/lint

fuzz: ## fuzz every parser, FUZZTIME each
	./test/fuzz -fuzztime $(FUZZTIME)

differential: ## compare a million random requests: what is executed is what was decided
	go test ./caddymodule -run Differential -requests 1000000 -timeout 90m -v

demo: ## run Caddy in front of the emulated servers until Ctrl-C
	go run ./test/demo

generate: ## generate the indexes of operations
	go generate ./...
