#!/usr/bin/env bash
# slurm.conf: Epilog=/etc/slurm/telemetryd/epilog.sh (root, on each node, after the job's last process)
#
# Ends the job's daemon, which adopts the journals of processes that were killed and delivers for up to a minute. What
# is left then stays in its folder, and this script starts a daemon on it again after the user's next job here.
# Never fails: a node whose epilog fails is drained.
set -u
source "$(dirname "$0")/settings.sh"
exec >>/var/log/telemetryd-epilog.log 2>&1 </dev/null

as_user() {
  runuser -u "$SLURM_JOB_USER" -- "$@"
}

pending() { # rows and journals that wait in a folder; 0 when nothing does
  as_user "$telemetryd" status --json --endpoint "ipc://$1/daemon.sock" --state-dir "$1" |
    sed -n 's/^  "pending": \([0-9]*\),*$/\1/p; s/^    "sessions": \([0-9]*\),*$/\1/p' | awk '{ sum += $1 } END { print sum + 0 }'
}

delivered_once= # for at most drain_s
if [ -d /run/systemd/system ]; then
  delivered_once=yes
  systemctl stop "telemetryd-job-$SLURM_JOB_ID.service"
elif [ -s "$place/daemon.pid" ]; then
  daemon=$(cat "$place/daemon.pid")
  kill -TERM "$daemon" && delivered_once=yes
  for _ in $(seq $((drain_s + 15))); do
    kill -0 "$daemon" 2>/dev/null || break
    sleep 1
  done
fi

for folder in "/var/spool/telemetryd-jobs/$SLURM_JOB_USER"/*/; do
  folder=${folder%/}
  id=${folder##*/}
  if [ "$id" != "$SLURM_JOB_ID" ] && [ -n "$(squeue --noheader --job="$id" --nodelist="$SLURMD_NODENAME" 2>/dev/null)" ]; then
    continue # another job of theirs, which runs here
  fi
  if [ "$(pending "$folder")" -gt 0 ] && { [ "$id" != "$SLURM_JOB_ID" ] || [ -z "$delivered_once" ]; }; then
    as_user timeout "$drain_s" "$telemetryd" serve --endpoint "ipc://$folder/daemon.sock" --state-dir "$folder" \
      --exit-when-idle
  fi
  if [ "$(pending "$folder")" -eq 0 ]; then
    rm -rf "$folder"
  else
    echo "job $id of $SLURM_JOB_USER: something waits in $folder"
  fi
done
exit 0
