#!/bin/sh
# dpkg says "remove", rpm says 0; an upgrade keeps the service running.
set -e
case "$1" in
remove | 0) [ ! -d /run/systemd/system ] || systemctl disable --now veeam-auth.socket veeam-auth.service || true ;;
esac
