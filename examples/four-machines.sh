#!/usr/bin/env bash
# Photographs of your own on four machines, which are folders here: beside each copy stands what it is between machines.
#
#   PHOTOS=photos examples/four-machines.sh
#
# PHOTOS          a folder of class folders: photos/cat/1.jpg, photos/dog/2.jpg, …
# WORK            where the machines and the run are made; default four-machines
# SIZE            pixels of a square crop; default 224
# TRAIN_OPTIONS   more options of spectral-train, separated by blanks
#
# The same line again goes on where it was stopped.
set -euo pipefail

: "${PHOTOS:?set PHOTOS: a folder with a folder of images for each class}"
work="${WORK:-four-machines}"
size="${SIZE:-224}"
read -r -a options <<<"${TRAIN_OPTIONS:-}"
data="$work/here/photos-q4"

spectral-prep convert --dataset folder --source "$PHOTOS" --q 4 --size "$size" --resize "$((size * 8 / 7))" \
  --test-fraction 0.1 --out "$data"

processes=()
for k in 0 1 2 3; do
  node="$work/node-$k"
  mkdir -p "$node"
  cp -R "$data/spectral-0$k" "$node/" # rsync -a "$data/spectral-0$k" "node-$k:"
  ( # ssh "node-$k" spectral-train …
    cd "$node"
    exec spectral-train --shard "$k" --data "spectral-0$k" --run run --fuse-inputs "${options[@]}"
  ) &
  processes+=($!)
done
for process in "${processes[@]}"; do
  wait "$process"
done

# rsync -a "node-$k:run/" "back/node-$k/" for each; collect checks every file before it copies
spectral-ensemble collect "$work/run" "$work"/node-{0,1,2,3}/run
spectral-ensemble fuse "$work/run"
spectral-ensemble evaluate "$work/run"
