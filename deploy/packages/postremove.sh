#!/bin/sh
# Only `purge` discards state and secrets.
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload || true
if [ "$1" = purge ]; then
	rm -rf /etc/veeam-auth /var/lib/veeam-auth /var/lib/private/veeam-auth /var/log/veeam-auth /var/log/private/veeam-auth
fi
