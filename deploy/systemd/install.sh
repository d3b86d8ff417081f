#!/usr/bin/env bash
# Installs the system unit, as root: deploy/systemd/install.sh KEYFILE
#
# KEYFILE holds a W&B API key. Done twice, it changes the key and restarts the daemon; rows wait in the spools meanwhile.
set -euo pipefail
if [ $# -ne 1 ] || [ ! -r "$1" ]; then
  echo "usage: $0 KEYFILE (a file with a W&B API key)" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)

if [ ! -x /opt/telemetryd/bin/telemetryd ]; then
  python3 -m venv /opt/telemetryd
  /opt/telemetryd/bin/pip install --quiet "$here/../..[daemon,media]"
fi
install -D -m 0600 "$1" /etc/telemetryd/wandb-api-key
install -D -m 0644 "$here/system/telemetryd.sysusers.conf" /etc/sysusers.d/telemetryd.conf
install -D -m 0644 "$here/system/telemetryd.service" /etc/systemd/system/telemetryd.service
systemd-sysusers
systemctl daemon-reload
systemctl enable telemetryd
systemctl restart telemetryd
