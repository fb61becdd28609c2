#!/usr/bin/env bash
# Sessions with another host as the guide describes them, through ssh and through srun, and on a host that has nothing of
# this project (ssh://). The servers are real: an sshd and a Slurm cluster of two nodes, both on the loopback, started and
# stopped here. Prints one line per check, SKIPPED for what is not installed, and ends with code 1 if a check failed.
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
    if mountpoint -q "$scratch/host/tmp"; then umount "$scratch/host/tmp"; fi
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

# The host that ssh:// reaches has no gpu-attestor, and what it gets is gone when the session is over.

is_as_before() {
    [[ -z $(find "$scratch/host/tmp" "$scratch/host/home" /dev/shm -name 'gpu-attestor*') ]]
}

# result NAME IS_RIGHT LOG
result() {
    if (($2)) && until_true is_as_before; then
        echo "ok      $1"
    else
        sed "s/^/$1: /" "$3"
        echo "FAILED  $1"
        failed=1
    fi
}

# expect NAME CODE TEXT OPTION...: attests the host, and requires the exit code and the text.
expect() {
    local name=$1 expected=$2 text=$3 log=$scratch/$1.log code=0
    shift 3
    "${attest[@]}" "$@" "${there[@]}" >"$log" 2>&1 || code=$?
    result "$name" "$((code == expected)) && $(grep -qF -- "$text" "$log" && echo 1 || echo 0)" "$log"
}

# fake NAME LINE: a tool of the host that does something else.
fake() {
    printf '#!/bin/sh\n%s\n' "$2" >"$scratch/host/tools/$1"
    chmod 755 "$scratch/host/tools/$1"
}

# breaks NAME CODE SIGNAL WHOM: starts a session that takes long, and sends a signal while the agent works.
breaks() {
    local name=$1 expected=$2 signal=$3 whom=$4 log=$scratch/$1.log code=0 validator
    "${attest[@]}" --preset soak --evidence "$scratch/$name.cbor" "${there[@]}" >"$log" 2>&1 &
    validator=$!
    until_true grep -q 'devices take their memory' "$log"
    case $whom in
    validator) kill "-$signal" "$validator" ;;
    ssh) kill "-$signal" $(<"/proc/$validator/task/$validator/children") ;;
    server) kill "-$signal" $(<"/proc/$(<"$scratch/sshd.pid")/task/$(<"$scratch/sshd.pid")/children") ;;
    esac
    wait "$validator" 2>/dev/null || code=$?
    result "$name" "$((code == expected))" "$log"
}

ssh_url_checks() {
    attest=("$bin/gpu-validator" attest --hello-deadline 20s --ssh-option "IdentityFile=$scratch/user")
    attest+=(--ssh-option BatchMode=yes --ssh-option StrictHostKeyChecking=accept-new)
    attest+=(--ssh-option "UserKnownHostsFile=$scratch/known")
    there=("ssh://127.0.0.1:$port" -- --engine cpu)
    # The key that the first check has made.
    rm -rf "$scratch/host/home/.config"
    # A login that prints a greeting, whose end has no newline.
    echo 'printf "Welcome!\nLast login: today"' >"$scratch/host/home/.bashrc"
    expect ssh-url 0 'verdict      affirmed' --evidence "$scratch/ssh-url.cbor"
    "$bin/gpu-validator" verify "$scratch/ssh-url.cbor" >/dev/null 2>&1 || { echo "FAILED  ssh-url: verify"; failed=1; }

    fake sha256sum "printf '%064d  -\\n' 0"
    expect ssh-url-hash 2 'the host received other bytes than were sent'
    rm "$scratch/host/tools/sha256sum"
    fake uname 'echo Linux riscv64'
    expect ssh-url-architecture 2 'expected Linux on x86_64 or aarch64'
    rm "$scratch/host/tools/uname"

    breaks ssh-url-interrupt 2 INT validator
    breaks ssh-url-verifier-killed 137 KILL validator
    breaks ssh-url-ssh-killed 2 KILL ssh
    breaks ssh-url-server-killed 2 KILL server

    # A /tmp that nothing can be run from is no hindrance; one without space is.
    if ((EUID == 0)) && mount -t tmpfs -o noexec tmpfs "$scratch/host/tmp" 2>/dev/null; then
        expect ssh-url-noexec 0 'verdict      affirmed'
        mount -o remount,exec,size=1m "$scratch/host/tmp"
        expect ssh-url-full 2 'gpu-attestor cannot be written to'
        umount "$scratch/host/tmp"
    else
        echo "SKIPPED: ssh:// with a noexec and with a full /tmp: nothing can be mounted here"
    fi
}

if has sshd ssh ssh-keygen; then
    port=$(free_ports 1)
    mkdir -p "$scratch"/host/{home,tmp,tools}
    for key in server user; do ssh-keygen -q -t ed25519 -N '' -f "$scratch/$key"; done
    cat >"$scratch/sshd.conf" <<CONF
Port $port
ListenAddress 127.0.0.1
HostKey $scratch/server
AuthorizedKeysFile $scratch/user.pub
PasswordAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
SetEnv PATH=$scratch/host/tools:/usr/bin:/bin HOME=$scratch/host/home TMPDIR=$scratch/host/tmp XDG_RUNTIME_DIR=
PidFile $scratch/sshd.pid
CONF
    # An sshd that root runs requires a folder that its package creates at boot.
    if ((EUID == 0)); then mkdir -p /run/sshd; fi
    "$(command -v sshd)" -f "$scratch/sshd.conf"
    listens() { : <"/dev/tcp/127.0.0.1/$port"; }
    until_true listens
    check ssh ssh -T -p "$port" -i "$scratch/user" -o BatchMode=yes -o StrictHostKeyChecking=accept-new \
        -o "UserKnownHostsFile=$scratch/known" 127.0.0.1 "$bin/gpu-attestor" agent --stdio
    ssh_url_checks
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
