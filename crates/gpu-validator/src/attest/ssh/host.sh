# What the host's shell does: it receives gpu-attestor, runs it on its own standard input and output, and leaves nothing
# behind. For any POSIX shell with head, mktemp and something that computes SHA-256. The Verifier puts a line before this
# one that sets the positional parameters to the agent's options.
#
# The Verifier sends nothing until it has the answer to what it sent before: a head that reads ahead takes nothing that
# belongs to the next reader.
set -f
umask 077
dir= agent=

# A line for the Verifier. It begins a new one: what the login has printed may end without a newline.
say() { printf "\ngpu-attestor-ssh %.1000s\n" "$*"; }
fail() { say "error $*"; exit 2; }

# However this shell ends, the agent ends too, and the folder is gone. Signals are handled while the agent runs, not after
# it: the shell waits for it in the background. After a lost connection the agent sees the end of its input.
clean() {
    code=$?
    trap "" HUP INT TERM PIPE
    if [ -n "$agent" ]; then kill -TERM "$agent" 2>/dev/null; wait "$agent"; fi
    if [ -n "$dir" ]; then rm -rf "$dir"; fi
    exit "$code"
}
trap clean EXIT
trap "exit 129" HUP
trap "exit 130" INT
trap "exit 141" PIPE
trap "exit 143" TERM

# Removes folders that shells like this one left when they were killed with SIGKILL: this user's, a day old or older, of a
# shell of this host that is gone. Where others could put folders of this user under such a name, nothing is removed.
remove_stale() {
    if [ ! -O "$1" ] && [ ! -k "$1" ]; then return; fi
    set +f
    for old in "$1"/gpu-attestor-ssh.??????????; do
        mark=$old/session
        if [ -L "$old" ] || [ ! -O "$old" ] || [ -L "$mark" ] || [ ! -f "$mark" ] || [ ! -O "$mark" ]; then continue; fi
        if [ -z "$(find "$mark" -prune -mtime +0 2>/dev/null)" ]; then continue; fi
        node= shell=
        read -r node shell <"$mark"
        case $shell in "" | *[!0-9]*) continue ;; esac
        if [ "$node" != "$(uname -n)" ] || kill -0 "$shell" 2>/dev/null; then continue; fi
        rm -rf "$old" 2>/dev/null
    done
    set -f
}

# A folder that programs can be run from; /tmp may be mounted noexec, and so may any of the others.
tried=
for parent in "${TMPDIR:-/tmp}" "$XDG_RUNTIME_DIR" /dev/shm "$HOME"; do
    if [ -z "$parent" ]; then continue; fi
    remove_stale "$parent"
    if ! dir=$(mktemp -d "$parent/gpu-attestor-ssh.XXXXXXXXXX" 2>/dev/null); then
        dir=
        tried="$tried $parent (not writable)"
        continue
    fi
    printf "%s %s\n" "$(uname -n)" "$$" 2>/dev/null >"$dir/session"
    if printf "#!/bin/sh\nexit 0\n" 2>/dev/null >"$dir/try" && chmod 700 "$dir/try" && "$dir/try" 2>/dev/null; then
        break
    fi
    rm -rf "$dir"
    dir=
    tried="$tried $parent (programs cannot be run there)"
done
if [ -z "$dir" ]; then fail folder $tried; fi

say host $(uname -sm)
read -r length expected || exit 2

file=$dir/gpu-attestor
head -c "$length" >"$file" || fail write "$dir"
sha256() { sha256sum <"$1" || shasum -a 256 <"$1" || openssl dgst -sha256 -r <"$1"; }
computed=$(sha256 "$file" 2>/dev/null) || fail tools
computed=${computed%% *}
if [ "$computed" != "$expected" ]; then fail hash "$computed"; fi
chmod 700 "$file"
version=$("$file" --version 2>&1) || fail start $version

# A key that the host already has is its identity. Otherwise the session has one of its own, which goes with the folder.
if [ ! -e "${XDG_CONFIG_HOME:-$HOME/.config}/gpu-attestor/attester.pem" ]; then
    XDG_CONFIG_HOME=$dir/config
    export XDG_CONFIG_HOME
fi
say ready
# A shell gives what it runs in the background /dev/null for standard input, unless another descriptor is named.
exec 3<&0
"$file" agent --stdio "$@" <&3 3<&- &
agent=$!
exec 3<&- </dev/null >/dev/null
wait "$agent"
code=$?
agent=
exit "$code"
