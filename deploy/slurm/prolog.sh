#!/usr/bin/env bash
# slurm.conf: Prolog=/etc/slurm/telemetryd/prolog.sh (root, on each node, before a job's first task)
#
# Starts a daemon for the job, as the job's user and outside the job's control group: a job that is killed, by the
# kernel or by Slurm, leaves it alone. Never fails: a node whose prolog fails is drained.
set -u
source "$(dirname "$0")/settings.sh"
exec >>/var/log/telemetryd-prolog.log 2>&1 </dev/null

home=$(getent passwd "$SLURM_JOB_USER" | cut -d: -f6)
group=$(id -g "$SLURM_JOB_USER") || exit 0
install -d -m 0711 /var/spool/telemetryd-jobs
install -d -m 0700 -o "$SLURM_JOB_USER" -g "$group" "/var/spool/telemetryd-jobs/$SLURM_JOB_USER" "$place" || exit 0

serve=("$telemetryd" serve --endpoint "ipc://$socket" --state-dir "$place" --drain-timeout "$drain_s")
if [ -d /run/systemd/system ]; then
  systemd-run --quiet --collect --unit="telemetryd-job-$SLURM_JOB_ID" --uid="$SLURM_JOB_USER" --gid="$group" \
    --setenv=HOME="$home" --working-directory="$place" \
    --property=Type=notify --property=WatchdogSec=60 --property=Restart=on-failure --property=TimeoutStopSec=90 \
    --property=KillMode=mixed "${serve[@]}"
else
  # runuser and the daemon in a session of their own: slurmd ends what is left of the prolog's.
  # shellcheck disable=SC2016 # the inner shell's own
  HOME=$home setsid --fork runuser -u "$SLURM_JOB_USER" -- sh -c 'cd "$1" && shift && echo $$ >daemon.pid && exec "$@"' \
    sh "$place" "${serve[@]}" >>"$place/daemon.log" 2>&1
fi
exit 0
