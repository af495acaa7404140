#!/usr/bin/env bash
# ImageNet on one machine: converts once, trains the long paper's five networks and the conventional ones beside them, a
# network a GPU and the next when one is free, and writes the paper's table.
#
#   SOURCE=data/imagenet deploy/imagenet/run.sh
#
# SOURCE          the release, as it was downloaded or unpacked; winter21_whole.tar.gz needs CONVERT_OPTIONS='--shuffle none'
# DATASET         imagenet (default; the paper's Table 3) or imagenet21k (its Table 4), which has no test images: a
#                 hundredth is set apart, unless CONVERT_OPTIONS has another --test-fraction
# DATA            the converted data set; default spectral/DATASET-q16
# RUNS            a run a network, and tables.md; default runs/DATASET
# DEVICES         'cuda:0 cuda:1', or 'cpu'; default: every GPU that nvidia-smi lists
# AT_ONCE         conventional networks that train at the same time: each has all images in memory, 193 GB; default 2
# MODELS SHARDS TRAIN_OPTIONS BRANCH_OPTIONS CONVENTIONAL_OPTIONS
#                 which networks and how, see train.sh
# PYTHON          the one that has the package, for the checks before and the table; default python
# CONVERT_OPTIONS more options of spectral-prep convert: '--views 4 --augmentation crop' (the images of the conventional
#                 network are then five times as many)
#
# What cannot be trained with is refused before anything is converted (check.py).
# Stop it at any time (Ctrl-C, kill): the same line goes on after the last whole block, and after the last whole epoch of
# each network. What failed is said at the end, and the same line tries it again.
set -euo pipefail

here="$(dirname "${BASH_SOURCE[0]}")"
: "${SOURCE:?set SOURCE: the release of ImageNet, such as data/imagenet}"
export DATASET="${DATASET:-imagenet}" MODELS="${MODELS:-alexnet vgg16 resnet34 cyclemlp mobilevit}" SHARDS="${SHARDS:-4}"
export DATA="${DATA:-spectral/$DATASET-q16}" RUNS="${RUNS:-runs/$DATASET}"
read -r -a devices <<<"${DEVICES:-$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | sed 's/^/cuda:/' | xargs)}"
if ((${#devices[@]} == 0)); then
  echo "Error: no GPU here. Run next: the same line with DEVICES=cpu, or on a machine whose nvidia-smi lists GPUs" >&2
  exit 2
fi
declare -A TEST_FRACTION=([imagenet21k]='--test-fraction 0.01')
read -r -a models <<<"$MODELS"
read -r -a options <<<"--transform dct2 ${TEST_FRACTION[$DATASET]:-} ${CONVERT_OPTIONS:-}"

"${PYTHON:-python}" "$here/check.py" --shards "$SHARDS" --at-once "${AT_ONCE:-2}" "${models[@]/#/--model=}" \
  "${devices[@]/#/--device=}"

end() { # all that this shell began; it is asked, since what was just begun may have no name yet
  trap '' INT TERM
  jobs -p | xargs --no-run-if-empty kill 2>/dev/null || true
  wait
}
stop() {
  end
  echo "Stopped: finished blocks and epochs are kept. Run next: the same line; it goes on where it stopped." >&2
  exit 130
}
trap stop INT TERM

spectral-prep convert --dataset "$DATASET" --source "$SOURCE" --q 16 --out "$DATA" "${options[@]}" &
wait "$!"

# Each device takes the next network that none has taken; the last devices leave the conventional ones to the first.
taken="$(mktemp -d)"
trap 'rm -rf "$taken"' EXIT
work() {
  local device="$1" place="$2" number failed=0
  # Ctrl-C comes here, too, and would end this shell before its child.
  trap 'end; exit 130' INT TERM
  for ((number = 0; number < ${#models[@]} * (SHARDS + 1); number++)); do
    ((number % (SHARDS + 1) != 0 || place < ${AT_ONCE:-2})) || continue
    mkdir "$taken/$number" 2>/dev/null || continue
    DEVICE="$device" "$here/train.sh" "$number" &
    wait "$!" || failed=1
  done
  return "$failed"
}
children=()
for place in "${!devices[@]}"; do
  work "${devices[place]}" "$place" &
  children+=($!)
done
failed=0
for child in "${children[@]}"; do
  wait "$child" || failed=1
done
if ((failed)); then
  echo "Error: not all networks were trained. Run next: what the first error above says, then the same line" >&2
  exit 1
fi
"${PYTHON:-python}" "$here/tables.py" "$RUNS"
