# shellcheck shell=bash
# What prolog.sh, task-prolog.sh and epilog.sh agree upon. Beside them, readable by everybody.
# shellcheck disable=SC2034  # used by those who read this

# Slurm gives its prologs little of one.
export PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

telemetryd=/opt/telemetryd/bin/telemetryd

# A local disk that jobs do not empty: what a job could not deliver stays here for its user's next daemon.
place=/var/spool/telemetryd-jobs/$SLURM_JOB_USER/$SLURM_JOB_ID
socket=$place/daemon.sock

# How long the epilog, and so the node, waits for delivery.
drain_s=60
