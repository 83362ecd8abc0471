#!/usr/bin/env bash
# Builds bin/caddy, a Caddy with this module, from this checkout.
#
#   ./xcaddy.sh [arguments of xcaddy build]
#   ./xcaddy.sh --with github.com/pberkel/caddy-storage-redis@v1.8.1
#
# The Caddy is the version that go.mod names, xcaddy the one that tools/go.mod
# pins. Relative paths in the arguments are relative to where you are.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fail() { echo "xcaddy.sh: $*" >&2; exit 1; }

need=$(awk '$1 == "go" { print $2; exit }' "$root/go.mod")
command -v go >/dev/null || fail "Go $need or newer is needed, and there is no go in PATH (https://go.dev/dl)"

# Asked outside the checkout, an old go tells its own version; asked inside, a
# newer one may first fetch the version that go.mod wants.
found=$(cd / && go env GOVERSION) || fail "go env does not work"
inside=$(go -C "$root" env GOVERSION 2>/dev/null) || inside=$found
oldest=$(printf '%s\n' "$need" "${inside#go}" | sort -V | head -n 1)
[ "$oldest" = "$need" ] || fail "Go $need or newer is needed, this is ${found#go} (https://go.dev/dl)"

module=$(go -C "$root" list -m)
caddy=$(go -C "$root" list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)
xcaddy=$(go -C "$root" tool -modfile=tools/go.mod -n xcaddy)

# With a version of its own, even an invented one, the replaced module is not
# looked up in the module proxy.
"$xcaddy" build "$caddy" --with "$module@v0.0.0=$root" --output "$root/bin/caddy" "$@"
