#!/usr/bin/env bash
# A real Slurm of one node on this machine, for the tests of `coldstart sweep --executor slurm`.
#
#   tests/slurm/start.sh DIR     installs slurm-wlm and munge where they are missing, and starts them; all files lie in DIR
#   tests/slurm/stop.sh DIR      stops them
#
# Afterwards SLURM_CONF=DIR/slurm.conf is all that sbatch and its like need. Wants Debian or Ubuntu, and root.
set -euo pipefail
dir=$(realpath -m "${1:?a folder for the files of this Slurm}")
say() { echo "slurm: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "starting Slurm's daemons takes root"; exit 1; }

if ! command -v slurmctld slurmd munged > /dev/null 2>&1 || ! command -v slurmctld > /dev/null || ! command -v munged > /dev/null; then
  say "installing slurm-wlm and munge"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } > /dev/null
fi

mkdir -p "$dir/state" "$dir/spool"
chmod 755 "$dir"
# munged is particular about who owns its folders.
install -d -o munge -g munge -m 755 "$dir/munge"
if [ ! -f "$dir/munge/key" ]; then
  dd if=/dev/urandom of="$dir/munge/key" bs=1 count=1024 status=none
  chown munge:munge "$dir/munge/key"
  chmod 400 "$dir/munge/key"
fi
node=$(hostname -s)
cat > "$dir/slurm.conf" << CONF
ClusterName=coldstart-tests
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=batch_sched_delay=1,sched_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=5
MinJobAge=300
InactiveLimit=0
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$dir/slurm.conf"

runuser -u munge -- munged --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
  --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" --force
slurmctld
slurmd -N "$node"
for _ in $(seq 60); do
  if [ "$(sinfo --noheader --format=%T 2> /dev/null | head -1)" = idle ]; then
    say "ready: SLURM_CONF=$SLURM_CONF"
    exit 0
  fi
  sleep 0.5
done
say "the node is not ready"
tail -n 20 "$dir"/*.log >&2
exit 1
