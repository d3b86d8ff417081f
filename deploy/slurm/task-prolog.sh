#!/usr/bin/env bash
# slurm.conf: TaskProlog=/etc/slurm/telemetryd/task-prolog.sh (the job's user, before each task)
#
# What is printed as `export NAME=value` gets into the task's environment: where the prolog's daemon is, and a run id
# that a requeue keeps. A job that names a run itself keeps its name.
set -u
source "$(dirname "$0")/settings.sh"

echo "export TELEMETRYD_ENDPOINT=ipc://$socket"
echo "export TELEMETRYD_STATE_DIR=$place"
echo "export TELEMETRYD_SPOOL_DIR=$place/spool"
if [ -z "${TELEMETRYD_RUN_ID:-}" ] && [ "${SLURM_NNODES:-1}" -eq 1 ]; then
  echo "export TELEMETRYD_RUN_ID=slurm-${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+-$SLURM_ARRAY_TASK_ID}"
fi
