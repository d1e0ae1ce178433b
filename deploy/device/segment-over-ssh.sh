#!/bin/sh
# A device on ssh: one connection carries the pictures there and the masks back. In me.toml:
#
#     [command]
#     run = "./segment-over-ssh.sh USER@HOST {input_dir} {output_dir}"
#
# The worker's user needs a key that the device knows, and the device's key in his known_hosts. Put your program
# in place of `segment`: it gets a folder of pictures (000.png, 001.png, ...) and a folder for masks of the same
# names, 8-bit grey, 0 background to 255 person. It ends with 75 when the device is away: the work then waits,
# and no frame is blamed.
set -eu
host=$1 inputs=$2 outputs=$3

ulimit -f 524288 # 256 MiB a file: a device that has gone mad does not fill this disk
tar -C "$inputs" -cf "$TMPDIR/in.tar" .
status=0
ssh -o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=5 "$host" '
    set -e
    work=$(mktemp -d)
    trap "rm -rf \"$work\"" EXIT
    mkdir "$work/in" "$work/out"
    tar -C "$work/in" -xf -
    segment "$work/in" "$work/out" >&2
    tar -C "$work/out" -cf - .
' <"$TMPDIR/in.tar" >"$TMPDIR/out.tar" || status=$?
[ "$status" -ne 255 ] || exit 75 # ssh itself failed: there is no device
[ "$status" -eq 0 ] || exit "$status"
tar -C "$outputs" -xf "$TMPDIR/out.tar"
