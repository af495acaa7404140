#!/usr/bin/env bash
# Trains the branches of a data set on machines that have nothing but ssh: the spectral folder of each branch goes to a
# host, is trained on there, and the branch comes back; at the end all are evaluated here.
#
#   HOSTS='node-a node-b' DATA=spectral/imagenet-q16 RUN=runs/imagenet deploy/ssh/run.sh
#
# HOSTS           names that ssh knows, each as often as it shall train branches at a time; branches are dealt out in turn
# DATA            the data set, here
# RUN             where the trained branches come to, here
# TRAIN_OPTIONS   more options of spectral-train, separated by blanks
# WORK            a folder on each host, relative to the home there; default spectral-work
# BIN             the folder on each host with spectral-train; default: on the PATH there
# SSH             the command, default ssh; such as 'ssh -p 2222 -i key'
#
# When a host fails, the others go on; the same line again does what is missing, on the hosts that it names. What a host
# has begun, it goes on with.
set -euo pipefail

: "${HOSTS:?set HOSTS: machines to train on, such as 'node-a node-b'}"
: "${DATA:?set DATA: the converted data set}"
: "${RUN:?set RUN: the folder for the trained branches}"
if ! [[ -f $DATA/manifest.json ]]; then
  echo "Error: no complete data set. Where: $DATA. Run next: spectral-prep finalize $DATA" >&2
  exit 2
fi
work="${WORK:-spectral-work}"
ssh="${SSH:-ssh}"
read -r -a hosts <<<"$HOSTS"
read -r -a options <<<"${TRAIN_OPTIONS:-}"
read -r -a login <<<"$ssh"

# train HOST SHARD: has a branch trained on a host. ssh hands over one line, which a shell there reads: hence the %q.
train() {
  local host="$1" shard name command
  shard="$2"
  printf -v name '%02d' "$shard"
  printf -v command '%q ' mkdir -p "$work/data"
  "${login[@]}" "$host" "$command" </dev/null
  copy "$DATA/spectral-$name" "$host:$work/data/"
  printf -v command '%q ' "${BIN:+$BIN/}spectral-train" --shard "$shard" --data "$work/data/spectral-$name" \
    --run "$work/run" "${options[@]}"
  "${login[@]}" "$host" "$command" </dev/null
  copy --exclude=branch.json "$host:$work/run/branch-$name/" "$RUN/branch-$name/"
  copy "$host:$work/run/branch-$name/branch.json" "$RUN/branch-$name/" # last: it says that all the others are there
}

copy() {
  rsync --archive --protect-args --rsh="$ssh" "$@"
}

mkdir -p "$RUN"
missing=()
for folder in "$DATA"/spectral-*; do
  shard="${folder##*-}"
  [[ -f $RUN/branch-$shard/branch.json ]] || missing+=("$((10#$shard))")
done

processes=()
for first in "${!hosts[@]}"; do
  (
    for ((i = first; i < ${#missing[@]}; i += ${#hosts[@]})); do
      train "${hosts[first]}" "${missing[i]}"
    done
  ) &
  processes+=($!)
done
failed=()
for first in "${!hosts[@]}"; do
  wait "${processes[first]}" || failed+=("${hosts[first]}")
done
if ((${#failed[@]})); then
  echo "Error: not all branches were trained on ${failed[*]}. Run next: the same line, without hosts that are lost" >&2
  exit 1
fi
exec spectral-ensemble evaluate "$RUN"
