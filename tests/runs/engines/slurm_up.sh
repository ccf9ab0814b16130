#!/bin/bash
# Starts a real Slurm on this host, for tests: munged, slurmctld and a slurmd for each node n1, n2, ...
# with one CPU each, on 127.0.0.1, without systemd, cgroups, accounting or anything in /etc.
#
#   slurm_up.sh FOLDER PORT NODE_PORT...     as root; all that the daemons write lies in FOLDER
#   export SLURM_CONF=FOLDER/slurm.conf      then sbatch, squeue and the others talk to it
#   slurm_down.sh FOLDER                     stops it
set -euo pipefail

folder=$1 port=$2
shift 2
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$folder/state"

start() { # A daemon, which forks by itself; a pipe of the caller as its output would never end.
    "$@" </dev/null >>"$folder/start.log" 2>&1
}

is_up() {
    [ "$(timeout 10 sinfo --noheader --Node --partition=normal --states=idle 2>/dev/null | wc -l)" = "$nodes" ]
}

host=$(hostname -s)
cat >"$SLURM_CONF" <<CONF
ClusterName=onehost
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
# cred_expire is also how long a requeued job waits before it begins again; less than 5 s counts as unset.
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
# A lost node is noticed after SlurmdTimeout and some 20 s.
SlurmdTimeout=10
ReturnToService=2
KillWait=30
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0
# A job of partition "high" preempts one of "normal", which is requeued after GraceTime.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 GraceTime=30
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
CONF
nodes=0
for node_port in "$@"; do
    nodes=$((nodes + 1))
    echo "NodeName=n$nodes NodeHostname=$host NodeAddr=127.0.0.1 Port=$node_port CPUs=1" >>"$SLURM_CONF"
done
echo "CgroupPlugin=disabled" >"$folder/cgroup.conf" # newer versions load a plugin, used or not
if slurmctld -V | grep -qE ' (1|20|21|22)\.'; then rm "$folder/cgroup.conf"; fi

(umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
start munged --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
start slurmctld -c
for number in $(seq "$nodes"); do start slurmd -c -N "n$number"; done
for _ in $(seq 300); do # 60 s
    if is_up; then exit 0; fi
    sleep 0.2
done
tail -n 20 "$folder"/*.log >&2
exit 1
