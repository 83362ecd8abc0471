#!/bin/sh
# A new installation is not started: it has no server and no password yet.
set -e
[ -d /run/systemd/system ] || exit 0
systemd-tmpfiles --create veeam-auth.conf
systemctl daemon-reload
if systemctl is-active --quiet veeam-auth; then
	systemctl restart veeam-auth
fi
