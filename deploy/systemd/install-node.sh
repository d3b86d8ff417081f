#!/usr/bin/env bash
# Installs the node's unit, as root: deploy/systemd/install-node.sh tcp://HOST:7077 KEYFILE
#
# KEYFILE is a client's key of the daemon at that address (`telemetryd keys add NAME`). Done twice, it changes both.
set -euo pipefail
if [ $# -ne 2 ] || [[ $1 != tcp://* ]] || [ ! -r "$2" ]; then
  echo "usage: $0 tcp://HOST:PORT KEYFILE (a client's key, made by telemetryd keys add)" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)

if [ ! -x /opt/telemetryd/bin/telemetryd ]; then
  python3 -m venv /opt/telemetryd
  /opt/telemetryd/bin/pip install --quiet "$here/../..[daemon]"
fi
install -d -m 0755 /etc/telemetryd
echo "TELEMETRYD_ENDPOINT=$1" >/etc/telemetryd/node.env
install -m 0600 "$2" /etc/telemetryd/node.key
install -D -m 0644 "$here/system/telemetryd.sysusers.conf" /etc/sysusers.d/telemetryd.conf
install -D -m 0644 "$here/system/telemetryd-node.service" /etc/systemd/system/telemetryd-node.service
systemd-sysusers
systemctl daemon-reload
systemctl enable telemetryd-node
systemctl restart telemetryd-node
