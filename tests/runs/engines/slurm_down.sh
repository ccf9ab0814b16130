#!/bin/bash
# Stops what slurm_up.sh started in a folder: the processes of its jobs first, then the daemons.
#
#   slurm_down.sh FOLDER
#
# A process of a job is known by its environment, its keeper by the folder it works in, and a daemon
# by the file in which it wrote its id.
set -uo pipefail

folder=$1
export SLURM_CONF=$folder/slurm.conf

is() { # Whether a process runs and has this name; one that waits to be reaped does not run.
    grep -qx "Name:.$2" "/proc/$1/status" 2>/dev/null &&
        ! grep -q "^State:.Z" "/proc/$1/status" 2>/dev/null
}

kill_jobs() {
    local place id
    for place in /proc/[0-9]*; do
        id=${place#/proc/}
        if is "$id" slurmstepd; then
            [ "$(readlink "$place/cwd")" = "$folder" ] && kill -KILL "$id"
        elif tr '\0' '\n' <"$place/environ" | grep -qxF "SLURM_CONF=$SLURM_CONF" &&
            tr '\0' '\n' <"$place/environ" | grep -q "^SLURM_JOB_ID="; then
            kill -KILL "$id"
        fi
    done 2>/dev/null
}

stop() { # The daemons of this name: SIGTERM, and SIGKILL to one that is there after 10 s.
    local file id
    for file in "$folder/$1"*.pid; do
        id=$(cat "$file" 2>/dev/null) && is "$id" "$1" || continue
        kill -TERM "$id"
        for _ in $(seq 100); do
            is "$id" "$1" || continue 2
            sleep 0.1
        done
        kill -KILL "$id"
    done
}

stop slurmctld # it would start the next job as soon as one ends
kill_jobs
stop slurmd
kill_jobs # one that was just being started
stop munged
exit 0
