#!/usr/bin/env bash
# Trains one of ImageNet's networks: number 0 is the conventional AlexNet, 1 to SHARDS its branches, then VGG-16's …; the
# number is the task of a Slurm array, or the argument.
#
#   sbatch --array=0-24 --gres=gpu:1 --mem=220G deploy/imagenet/train.sh
#
# DATA RUNS             the converted data set, and where the runs go, a folder a network
# MODELS                default 'alexnet vgg16 resnet34 cyclemlp mobilevit'; the recipe of each is imagenet-MODEL
# SHARDS                branches of each, default 4
# DEVICE                as --device; default auto
# TRAIN_OPTIONS         more options of spectral-train, for all
# BRANCH_OPTIONS        for branches
# CONVENTIONAL_OPTIONS  for conventional networks; default '--lr 0.001', half of the branches'
#
# Requeued, it goes on after its last whole epoch; what is finished is not trained again, and refused with what differs if
# it was trained with other options.
#SBATCH --job-name=spectral-imagenet
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail
: "${DATA:?set DATA: the converted data set}" "${RUNS:?set RUNS: the folder for the runs}"
number="${1:-${SLURM_ARRAY_TASK_ID:?set by sbatch --array=0-24, or give a number}}"
shards="${SHARDS:-4}"
read -r -a models <<<"${MODELS:-alexnet vgg16 resnet34 cyclemlp mobilevit}"
read -r -a options <<<"${TRAIN_OPTIONS:-}"
if ! [[ $shards =~ ^[1-9][0-9]*$ ]]; then
  echo "Error: no number of branches. Expected: 4, say. Got: $shards. Run next: the same line with another SHARDS" >&2
  exit 2
fi
networks=$((${#models[@]} * (shards + 1)))
if ! [[ $number =~ ^[0-9]{1,9}$ ]] || ((10#$number >= networks)); then
  echo "Error: no such network. Expected: 0 to $((networks - 1)), for SHARDS=$shards and MODELS='${models[*]}'." \
    "Got: $number. Run next: the same line with one of these numbers" >&2
  exit 2
fi
number=$((10#$number))
model="${models[number / (shards + 1)]}"
part=$((number % (shards + 1)))
if ((part == 0)); then
  read -r -a own <<<"--baseline ${CONVENTIONAL_OPTIONS:---lr 0.001}"
else
  read -r -a own <<<"--shard $((part - 1)) ${BRANCH_OPTIONS:-}"
fi
exec spectral-train "${own[@]}" --shards "$shards" --data "$DATA" --run "$RUNS/$model" --recipe "imagenet-$model" \
  --device "${DEVICE:-auto}" "${options[@]}"
