# The image of the slim build: one static binary, no shell, nothing else.
#
#   docker build -t veeam-auth --build-arg VERSION=$(git describe --tags --always) .
#
# docs/container.md says how to run it. `make pin` names the image below by its digest:
# docs/release.md.

FROM --platform=$BUILDPLATFORM golang:1.26.10-bookworm AS build
ARG TARGETOS TARGETARCH VERSION
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH make bin/veeam-auth BUILD_VERSION="$VERSION" \
 && make bin/THIRD-PARTY-LICENSES.txt \
 && install -d /root-fs/etc/veeam-auth /root-fs/data /root-fs/config /root-fs/tmp /root-fs/licenses \
 && install -m 0755 bin/veeam-auth /root-fs/veeam-auth \
 && install -m 0644 LICENSE /root-fs/licenses/LICENSE \
 && install -m 0644 bin/THIRD-PARTY-LICENSES.txt /root-fs/licenses/THIRD-PARTY-LICENSES.txt \
 && install -m 0644 deploy/image/Caddyfile /root-fs/etc/veeam-auth/Caddyfile

# The emulated server of the demo: docker build --target emulator .
FROM build AS build-emulator
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -o /emulator ./test/emulator \
 && install -d -o 65532 -g 65532 /ca

FROM scratch AS emulator
COPY --from=build-emulator /emulator /emulator
COPY --from=build-emulator --chown=65532:65532 /ca /ca
USER 65532:65532
ENTRYPOINT ["/emulator"]

FROM scratch AS image
COPY --from=build --chown=65532:65532 /root-fs/ /
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config HOME=/config TZ=UTC
# The defaults of the Caddyfile, here so that an error about a file names its variable.
ENV VEEAM_AUTH_PASSWORD_FILE=/run/secrets/veeam_password \
    VEEAM_AUTH_TOTP_SECRET_FILE=/run/secrets/veeam_totp_secret \
    VEEAM_AUTH_CA_FILE=/run/secrets/veeam_ca.pem
USER 65532:65532
WORKDIR /etc/veeam-auth
EXPOSE 9419 9180
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["/veeam-auth", "health"]
ENTRYPOINT ["/veeam-auth"]
CMD ["run", "--config", "/etc/veeam-auth/Caddyfile", "--adapter", "caddyfile"]
LABEL org.opencontainers.image.title="veeam-auth" \
      org.opencontainers.image.description="Logs in to Veeam REST APIs for the programs beside it" \
      org.opencontainers.image.source="https://github.com/caddy-veeam/veeam-auth" \
      org.opencontainers.image.licenses="Apache-2.0"
