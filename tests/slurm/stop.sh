#!/usr/bin/env bash
# Stops what start.sh has started in DIR.
set -uo pipefail
dir=$(realpath -m "${1:?the folder of this Slurm}")
export SLURM_CONF="$dir/slurm.conf"
scancel --user=root > /dev/null 2>&1
scontrol shutdown > /dev/null 2>&1
sleep 1
for pid in "$dir/slurmd.pid" "$dir/slurmctld.pid" "$dir/munge/pid"; do
  if [ -f "$pid" ]; then kill "$(cat "$pid")" 2> /dev/null; fi
done
true
