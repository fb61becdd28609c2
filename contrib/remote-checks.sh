#!/usr/bin/env bash
# Sessions with another host as the guide describes them, through ssh and through srun. The servers are real: an sshd and a
# Slurm cluster of two nodes, both on the loopback, started and stopped here. Prints one line per check, SKIPPED for what is
# not installed, and ends with code 1 if a session failed.
#
#   contrib/remote-checks.sh [FOLDER OF THE RELEASE BINARIES]
#
# Requires python3; openssh-server and openssh-client for ssh, slurm-wlm for srun (Debian's names).
set -euo pipefail
bin=$(cd "${1:-target/release}" && pwd)
scratch=$(mktemp -d)
export XDG_CONFIG_HOME=$scratch/config
export PATH=$PATH:/usr/sbin:/sbin
failed=0

stop() {
    if [[ -f $scratch/sshd.pid ]]; then kill "$(cat "$scratch/sshd.pid")" || true; fi
    for pid in "$scratch"/slurm*.pid; do
        if [[ -f $pid ]]; then kill "$(cat "$pid")" || true; fi
    done
    sleep 0.2
    rm -rf "$scratch"
}
trap stop EXIT

# Currently free ports.
free_ports() {
    python3 - "$1" <<'PY'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(one.getsockname()[1] for one in held))
PY
}

# until_true COMMAND...: waits for it, at most ten seconds.
until_true() {
    for _ in $(seq 100); do
        if "$@" 2>/dev/null; then return 0; fi
        sleep 0.1
    done
    echo "not within 10 s: $*" >&2
    return 1
}

has() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || { echo "SKIPPED: $tool is not installed"; return 1; }
    done
}

# check NAME COMMAND...: attests the agent that answers through COMMAND, and verifies its evidence.
check() {
    local name=$1 log=$scratch/$1.log
    shift
    if "$bin/gpu-validator" attest --preset smoke --hello-deadline 20s --evidence "$scratch/$name.cbor" -- "$@" \
        >"$log" 2>&1 && "$bin/gpu-validator" verify "$scratch/$name.cbor" >>"$log" 2>&1; then
        echo "ok      $name"
    else
        sed "s/^/$name: /" "$log"
        echo "FAILED  $name"
        failed=1
    fi
}

if has sshd ssh ssh-keygen; then
    port=$(free_ports 1)
    for key in host user; do ssh-keygen -q -t ed25519 -N '' -f "$scratch/$key"; done
    cat >"$scratch/sshd.conf" <<CONF
Port $port
ListenAddress 127.0.0.1
HostKey $scratch/host
AuthorizedKeysFile $scratch/user.pub
PasswordAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PidFile $scratch/sshd.pid
CONF
    # An sshd that root runs requires a folder that its package creates at boot.
    if ((EUID == 0)); then mkdir -p /run/sshd; fi
    "$(command -v sshd)" -f "$scratch/sshd.conf"
    listens() { : <"/dev/tcp/127.0.0.1/$port"; }
    until_true listens
    check ssh ssh -T -p "$port" -i "$scratch/user" -o BatchMode=yes -o StrictHostKeyChecking=accept-new \
        -o "UserKnownHostsFile=$scratch/known" 127.0.0.1 "$bin/gpu-attestor" agent --stdio
fi

if has slurmctld slurmd srun scontrol; then
    read -r controller first second <<<"$(free_ports 3)"
    export SLURM_CONF=$scratch/slurm.conf
    mkdir "$scratch/state"
    cat >"$SLURM_CONF" <<CONF
ClusterName=checks
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$controller
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/none
CredType=cred/none
StateSaveLocation=$scratch/state
SlurmdSpoolDir=$scratch/spool.%n
SlurmctldPidFile=$scratch/slurmctld.pid
SlurmdPidFile=$scratch/slurmd.%n.pid
SlurmctldLogFile=$scratch/slurmctld.out
SlurmdLogFile=$scratch/slurmd.%n.out
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
NodeName=node7 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$first CPUs=$(nproc)
NodeName=node8 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$second CPUs=$(nproc)
PartitionName=all Nodes=ALL Default=YES State=UP
CONF
    slurmctld -i
    slurmd -N node7
    slurmd -N node8
    is_up() { [[ $(sinfo --noheader --states=idle --format=%D) == 2 ]]; }
    until_true is_up
    check srun srun -u -w node7 "$bin/gpu-attestor" agent --stdio
fi

exit "$failed"
