# The commands of the project. `make help` lists them.

FUZZTIME ?= 60s

.PHONY: help build xcaddy test test-fast lint fuzz demo generate differential

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## build bin/caddy with the versions of go.sum
	go build -o bin/caddy ./cmd/caddy

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
