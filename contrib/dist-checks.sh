#!/usr/bin/env bash
# What `cargo xtask dist` packed, used as on hosts where nothing of this project is installed: archives and packages in a bare
# Debian, the agent under systemd with all of its restrictions, containers, and binaries for the other architecture under
# emulation. Prints one line per check, SKIPPED for what is not installed or not allowed here, and ends with code 1 if a
# check failed.
#
#   contrib/dist-checks.sh [FOLDER OF THE PACKAGES [FOLDER FOR DEBIAN'S ROOTS]]
#
# Requires root and debootstrap; systemd for a look at the units, buildah for containers, qemu-user and libc6-arm64-cross
# for the binaries of aarch64 (Debian's names). The roots are kept, so a second run is quicker and needs no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
packages=$(cd "${1:-target/packages}" && pwd)
mkdir -p "${2:-target/debian}"
roots=$(cd "${2:-target/debian}" && pwd)
scratch=$(mktemp -d "$roots/run.XXXXXX")
suite=bookworm
failed=0
export PATH=$PATH:/usr/sbin:/sbin XDG_CONFIG_HOME=$scratch/config
trap 'rm -rf "$scratch"' EXIT

has() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || { echo "SKIPPED: $tool is not installed"; return 1; }
    done
}

# check NAME COMMAND...: prints the end of its output only if it fails.
check() {
    local name=$1 log=$scratch/log code=0
    shift
    # Not as a condition: there, a command that fails within the function would not end it.
    set +e
    (
        set -e
        "$@"
    ) >"$log" 2>&1
    code=$?
    set -e
    if ((code == 0)); then
        echo "ok      $name"
    else
        tail -n 40 "$log" | sed "s/^/$name: /"
        echo "FAILED  $name"
        failed=1
    fi
}

# in_root ROOT SCRIPT: as root in this root, with no variable of ours.
in_root() {
    unshare --mount --pid --fork --kill-child sh -c '
        mount -t proc proc "$1/proc"
        exec env -i HOME=/root LC_ALL=C PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$1" sh -euc "$2"' sh "$1" "$2"
}

# kept NAME COMMAND...: the root of this name, built by the command (which gets its folder) if it is not there.
kept() {
    local name=$1
    shift
    if [[ ! -d $roots/$name ]]; then
        rm -rf "$roots/$name.part"
        "$@" "$roots/$name.part" >"$roots/$name.log" 2>&1 || { tail -3 "$roots/$name.log"; return 1; }
        mv "$roots/$name.part" "$roots/$name"
    fi
}

with_systemd() {
    cp -a "$roots/bare" "$1"
    cp /etc/resolv.conf "$1/etc/resolv.conf"
    in_root "$1" 'export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends systemd netcat-openbsd'
}

with_python() {
    cp -a "$roots/bare" "$1"
    cp /etc/resolv.conf "$1/etc/resolv.conf"
    in_root "$1" 'export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends python3 python3-pip python3-venv'
}

checksums() {
    cd "$packages"
    sha256sum --check --strict SHA256SUMS
}

# The licences in every file, whatever its architecture: this repository's own texts, and those of what is linked.
licences() {
    local file folder count=0
    for file in "$packages"/*.tar.gz "$packages"/*.deb "$packages"/*.whl; do
        folder=$scratch/licences/${file##*/}
        mkdir -p "$folder"
        case $file in
            *.tar.gz) tar -xzf "$file" -C "$folder" ;;
            *.deb) dpkg-deb --extract "$file" "$folder" ;;
            *.whl) python3 -m zipfile -e "$file" "$folder" ;;
        esac
        for name in LICENSE-MIT LICENSE-APACHE; do
            find "$folder" -name "$name" -exec cmp --silent {} "$name" ';' -print | grep .
        done
        find "$folder" -name THIRD-PARTY-NOTICES.txt -exec grep -l '^blake3@' {} + | grep .
        if [[ $file == *.deb ]]; then
            # Debian wants the text of a licence that its own folder of licences lacks, and who has the copyright.
            diff -B <(sed -n '/^Permission/,$ p' LICENSE-MIT) \
                <(sed -n '/^License: MIT$/,/^$/ { /^License/ d; s/^ \.$//; s/^ //; p }' "$folder"/usr/share/doc/*/copyright)
            grep -Fx "Copyright: $(sed -n 's/^Copyright (c) //p' LICENSE-MIT)" "$folder"/usr/share/doc/*/copyright
        fi
        count=$((count + 1))
    done
    rm -r "$scratch/licences"
    ((count >= 5))
}

archives() {
    cp -a "$roots/bare" "$scratch/archives"
    mkdir "$scratch/archives/new"
    cp "$packages"/*-"$native"-linux.tar.gz "$scratch/archives/new"
    in_root "$scratch/archives" '
        cd /new
        for archive in *.tar.gz; do tar -xzf "$archive"; done
        gpu-attestor-*/bin/gpu-attestor attest --preset smoke --evidence e.cbor
        gpu-validator-*/bin/gpu-validator verify e.cbor
        # The layout is that of a prefix.
        for archive in *.tar.gz; do tar -xzf "$archive" -C /usr/local --strip-components 1; done
        cd /
        gpu-validator attest --preset smoke -- gpu-attestor agent --stdio'
}

debs() {
    cp -a "$roots/bare" "$scratch/debs"
    mkdir "$scratch/debs/new"
    cp "$packages"/*_"$debian".deb "$scratch/debs/new"
    in_root "$scratch/debs" '
        # All but what dpkg notes of its own work.
        files() { find / -xdev \( -path /new -o -path /var/lib/dpkg -o -path /var/log \) -prune -o -print | sort; }
        files >/new/before
        dpkg -i /new/*.deb
        dpkg --verify gpu-attestor gpu-validator
        gpu-attestor attest --preset smoke --evidence /root/e.cbor
        gpu-validator verify /root/e.cbor
        for command in gpu-attestor gpu-validator; do
            zcat /usr/share/man/man1/$command.1.gz | grep -q "^\.TH"
            bash -n /usr/share/bash-completion/completions/$command
            test -s /usr/share/zsh/vendor-completions/_$command
            dpkg-query -f "\${Maintainer} \${Homepage} \${Bugs}" -W $command |
                grep "^The gpu-attestor authors https://github.com/.*/issues$"
            grep -q "^blake3@" /usr/share/doc/$command/THIRD-PARTY-NOTICES.txt
        done
        rm -r /root/e.cbor /root/.config
        dpkg --purge gpu-attestor gpu-validator
        files >/new/after
        diff /new/before /new/after'
}

# The wheel where there is Python and pip, and neither a compiler nor a network.
wheel() {
    cp -a "$roots/python" "$scratch/wheel"
    mkdir "$scratch/wheel/new"
    cp "$packages"/*_"$native".whl "$scratch/wheel/new"
    in_root "$scratch/wheel" '
        python3 -m venv /new/venv
        cd /new
        venv/bin/pip install --no-index *.whl
        PATH=/new/venv/bin:$PATH
        gpu-attestor attest --preset smoke --evidence e.cbor
        gpu-validator verify e.cbor
        python3 -c "
import gpu_attestor, importlib.resources
notices = importlib.resources.files(gpu_attestor) / \"THIRD-PARTY-NOTICES.txt\"
assert \"\\npyo3@\" in notices.read_text()
attestation = gpu_attestor.attest([\"gpu-attestor\", \"agent\", \"--stdio\"], preset=\"smoke\")
assert attestation.report.is_affirmed, attestation
assert gpu_attestor.verify(attestation.evidence) == attestation.report
print(gpu_attestor.verify(\"e.cbor\").shown)"'
}

# The units as systemd reads them, and how much they leave open.
units() {
    local unit
    mkdir "$scratch/units"
    tar -xzf "$packages"/gpu-attestor-*-"$native"-linux.tar.gz -C "$scratch/units" --strip-components 1
    for unit in "$scratch"/units/lib/systemd/system/*; do
        sed "s|^ExecStart=gpu-attestor |ExecStart=$scratch/units/bin/gpu-attestor |" "$unit" >"$scratch/units/${unit##*/}"
    done
    (
        cd "$scratch/units"
        systemd-analyze verify --man=no ./gpu-attestor.socket ./gpu-attestor@.service
        # In tenths: 10 is the least exposed, 100 an unconfined service.
        systemd-analyze security --offline=true --threshold=10 ./gpu-attestor@.service
    )
}

# systemd as the first process of new namespaces, in a group of its own, which runs check.service and ends with its result.
boot() {
    local root=$1 group
    group=$(findmnt -n -o TARGET -t cgroup2 | head -1)/gpu-attestor-check-$$
    mkdir "$group"
    local code=0
    timeout 120 bash -c '
        echo $BASHPID >"$2/cgroup.procs"
        exec unshare --mount --pid --fork --kill-child --cgroup --uts --ipc bash -euc "
            mount --bind \"\$1\" \"\$1\"
            cd \"\$1\"
            mount -t proc proc proc
            mount -t sysfs -o ro sysfs sys
            mount -t cgroup2 cgroup2 sys/fs/cgroup
            mount -t tmpfs tmpfs run
            mount -t tmpfs tmpfs dev
            for device in null zero full random urandom tty; do
                touch dev/\$device
                mount --bind /dev/\$device dev/\$device
            done
            pivot_root . mnt
            umount -l /mnt
            exec env -i container=other PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --system --log-target=console \
                --show-status=false --unit=check.service" bash "$1"' bash "$root" "$group" || code=$?
    # With the groups that systemd created in it; they are empty a moment after the last process ends.
    for _ in $(seq 50); do
        find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null && [[ ! -d $group ]] && break || sleep 0.1
    done
    return "$code"
}

# The agent on its socket, with a Verifier beside it.
agent() {
    local root=$scratch/systemd
    cp -a "$roots/systemd" "$root"
    cp "$packages"/*_"$debian".deb "$root"
    in_root "$root" 'dpkg -i /*.deb'
    cat >"$root/etc/systemd/system/check.service" <<'UNIT'
[Unit]
Requires=gpu-attestor.socket
After=gpu-attestor.socket
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
Environment=HOME=/root
TimeoutStartSec=100
StandardOutput=file:/check.log
StandardError=file:/check.log
ExecStart=/bin/bash -eux /check.sh
UNIT
    cat >"$root/check.sh" <<'CHECK'
socket=/run/gpu-attestor.sock
attest() { gpu-validator attest --preset smoke --json "$@" -- nc -N -U $socket; }
# Two sessions, with the one key that the first one made.
attest >/first
attest --evidence /e.cbor >/second
gpu-validator verify /e.cbor
identity() { grep -oE '"attester": *"[0-9a-f]{64}"' "$1"; }
test "$(identity /first)" = "$(identity /second)"
test "$(stat -c %a /var/lib/private/gpu-attestor)" = 700
test "$(stat -c %u /var/lib/private/gpu-attestor/attester.pem)" != 0

# Only root may connect.
! setpriv --reuid 65534 --regid 65534 --clear-groups nc -N -U $socket </dev/null

# One that connects and says nothing has the only place. Its agent is confined.
mkfifo /silent
nc -N -U $socket </silent >/dev/null &
exec 3>/silent
for _ in $(seq 100); do
    agent=$(systemctl show --property MainPID --value 'gpu-attestor@*.service')
    # Until then the process is systemd's, which is about to confine it.
    grep -qsx gpu-attestor "/proc/$agent/comm" && break || sleep 0.1
done
grep -qE '^CapBnd:\s+0+$' /proc/$agent/status
grep -qE '^NoNewPrivs:\s+1$' /proc/$agent/status
grep -qE '^Seccomp:\s+2$' /proc/$agent/status
test "$(stat -c %u /proc/$agent)" != 0
test "$(readlink /proc/$agent/ns/net)" != "$(readlink /proc/self/ns/net)"
! nsenter -m -t $agent touch /etc/written
code=0
attest || code=$?
test $code = 2
exec 3>&-
wait
attest >/third
CHECK
    boot "$root" || { cat "$root/check.log"; return 1; }
}

# The Verifier of this host's own architecture, in the scratch folder.
native_validator() {
    tar -xzf "$packages"/gpu-validator-*-"$native"-linux.tar.gz -C "$scratch" --strip-components 2 --wildcards \
        '*/bin/gpu-validator'
}

# Built from the container files, the bare Debian in place of their base.
containers() {
    local base command
    export BUILDAH_ISOLATION=chroot
    local buildah=(buildah --root "$scratch/containers" --runroot "$scratch/containers.run" --storage-driver vfs)
    base=$("${buildah[@]}" from scratch)
    "${buildah[@]}" copy --quiet "$base" "$roots/bare" /
    "${buildah[@]}" commit --quiet "$base" "localhost/debian:$suite-slim"
    for command in gpu-attestor gpu-validator; do
        "${buildah[@]}" build --quiet --pull=never --layers=false -f "packaging/Containerfile.$command" \
            --build-arg "TARGETARCH=$debian" -t "$command" "$packages"
        "${buildah[@]}" from --quiet --pull=never --name "$command" "localhost/$command"
    done
    native_validator
    "$scratch/gpu-validator" attest --preset smoke --evidence "$scratch/containers.cbor" -- \
        "${buildah[@]}" run gpu-attestor -- gpu-attestor agent --stdio
    key=$("$scratch/gpu-validator" identity | grep -oE '[0-9a-f]{64}' | head -1)
    "${buildah[@]}" copy --quiet gpu-validator "$scratch/containers.cbor" /work/e.cbor
    "${buildah[@]}" run gpu-validator -- gpu-validator verify --verifier "$key" e.cbor
}

# passes_without_bound COMMAND...: a session in which every check passes, too small to certify anything: exit code 2.
passes_without_bound() {
    local code=0
    "$@" >"$scratch/outcome" 2>&1 || code=$?
    cat "$scratch/outcome"
    ((code == 2)) && grep -q '^verdict .*(nothing-certified): every check passed' "$scratch/outcome"
}

# The agent of aarch64 under emulation, judged by the native Verifier; and the Verifier of aarch64, if it was built. 256 KiB:
# emulation is slow.
emulated() {
    local arm=$scratch/aarch64 qemu=(qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu) archive
    mkdir "$arm"
    for archive in "$packages"/*-aarch64-linux.tar.gz; do tar -xzf "$archive" -C "$arm" --strip-components 1; done
    native_validator
    passes_without_bound "$scratch/gpu-validator" attest --preset smoke --few-samples --matrix-dim 256 --device-memory 256KiB \
        --evidence "$arm/e.cbor" -- "${qemu[@]}" "$arm/bin/gpu-attestor" agent --stdio
    if [[ -e $arm/bin/gpu-validator ]]; then
        passes_without_bound "${qemu[@]}" "$arm/bin/gpu-validator" verify "$arm/e.cbor"
    fi
}

case $(uname -m) in
x86_64) native=x86_64 debian=amd64 ;;
aarch64) native=aarch64 debian=arm64 ;;
*)
    echo "expected a host of x86_64 or aarch64, this is $(uname -m)" >&2
    exit 2
    ;;
esac

check checksums checksums
check licences licences
if has systemd-analyze; then check units units; fi
if ! compgen -G "$packages/*-aarch64-linux.tar.gz" >/dev/null; then
    echo "SKIPPED: nothing was built for aarch64"
elif [[ $native == x86_64 ]] && has qemu-aarch64; then
    check aarch64 emulated
fi
if ((EUID != 0)); then
    echo "SKIPPED: archives, packages, agent, containers: a bare Debian needs root"
elif has debootstrap; then
    if kept bare debootstrap --variant=minbase "$suite"; then
        check archives archives
        check debs debs
        if ! compgen -G "$packages/*_$native.whl" >/dev/null; then
            echo "SKIPPED: wheel: none was built for $native"
        elif kept python with_python; then
            check wheel wheel
        else
            echo "SKIPPED: wheel: Python cannot be fetched"
        fi
        if ! findmnt -n -t cgroup2 >/dev/null; then
            echo "SKIPPED: agent: no cgroup2 is mounted"
        elif kept systemd with_systemd; then
            check agent agent
        else
            echo "SKIPPED: agent: systemd cannot be fetched"
        fi
        if has buildah; then check containers containers; fi
    else
        echo "SKIPPED: archives, packages, agent, containers: Debian cannot be fetched"
    fi
fi
exit "$failed"
