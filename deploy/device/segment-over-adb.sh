#!/bin/sh
# A device on adb: pictures are pushed, its own program draws, masks are pulled. In me.toml:
#
#     [command]
#     run = "./segment-over-adb.sh SERIAL {input_dir} {output_dir}"
#
# SERIAL is what `adb devices` says. Put your program in place of `segment`: it gets a folder of pictures
# (000.png, 001.png, ...) and a folder for masks of the same names, 8-bit grey, 0 background to 255 person.
# It ends with 75 when the device is away: the work then waits, and no frame is blamed. (Before Android 7 adb does
# not hand on the status of `segment`.)
set -eu
serial=$1 inputs=$2 outputs=$3
work=/data/local/tmp/hardpose-$$

adb -s "$serial" get-state >/dev/null || exit 75
ulimit -f 524288 # 256 MiB a file: a device that has gone mad does not fill this disk
trap 'adb -s "$serial" shell "rm -rf $work"' EXIT
trap 'exit 143' TERM # at the time limit
# Masks of an earlier call, which was killed, are not to be taken for this one's: process numbers come again.
adb -s "$serial" shell "rm -rf $work && mkdir -p $work/out"
adb -s "$serial" push "$inputs" "$work/in"
adb -s "$serial" shell "segment $work/in $work/out"
adb -s "$serial" pull "$work/out/." "$outputs"
