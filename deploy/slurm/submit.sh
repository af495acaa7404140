#!/usr/bin/env bash
# Submits the whole road to Slurm: begin → convert (array) → finalize → train (array) → evaluate, each after the one
# before it.
#
#   DATASET=imagenet SOURCE=data/imagenet Q=16 OUT=spectral/imagenet-q16 RUN=runs/imagenet deploy/slurm/submit.sh
#
# DATASET OUT Q RUN   as --dataset, --out, --q of spectral-prep convert and --run of spectral-train; folders (or URLs) that
#                     every node sees
# SOURCE              as --source; default ./data/DATASET
# TASKS               size of the array that converts, default 16
# SHARDS              size of the array that trains, as --shards; default Q
# CONVERT_OPTIONS TRAIN_OPTIONS EVALUATE_OPTIONS
#                     more options of those commands, separated by blanks: CONVERT_OPTIONS='--dtype float16'; those of
#                     convert are begin's, too
# TASK_OPTIONS        options that convert has and begin has not: TASK_OPTIONS='--device cuda --on-error skip'
# BEGIN_SBATCH CONVERT_SBATCH FINALIZE_SBATCH TRAIN_SBATCH EVALUATE_SBATCH
#                     options of sbatch, by step: TRAIN_SBATCH='--gres=gpu:1 --time=4:00:00'
# LOGS                folder of the logs, default ./logs
# WAIT=yes            waits for the end of all; the exit code then says whether the road was gone to its end
#
# The environment goes with the jobs: activate the one that has the commands first. What failed or was cancelled goes on
# where it stopped when the same line is run again.
set -Eeuo pipefail

: "${DATASET:?set DATASET: what to convert, such as imagenet}"
: "${OUT:?set OUT: the converted data set, a folder that every node sees}"
: "${Q:?set Q: how many spectrals, such as 16 or 4x4}"
: "${RUN:?set RUN: the trained branches, a folder that every node sees}"
if ! [[ $Q =~ ^[0-9]+(x[0-9]+)?$ ]]; then
  echo "Error: Q is a number or two, such as 16 or 4x4, not $Q" >&2
  exit 2
fi
for command in sbatch spectral-prep spectral-train spectral-ensemble; do
  if ! command -v "$command" >/dev/null; then
    echo "Error: no $command on the PATH. Run next: activate the environment that has it, then the same line" >&2
    exit 2
  fi
done
export DATASET OUT Q RUN TASKS="${TASKS:-16}" SHARDS="${SHARDS:-$((${Q/x/*}))}"

scripts="$(dirname "${BASH_SOURCE[0]}")"
logs="${LOGS:-logs}"
mkdir -p "$logs" # Slurm makes none, and a job without a log fails in silence
submitted=()
trap '((${#submitted[@]} == 0)) || scancel "${submitted[@]}"' ERR # all of the road or none of it

# submit STEP LOG OPTIONS…: submits STEP.sh; its job is then the last of $submitted.
submit() {
  local step="$1" log="$2" job
  local options=(--parsable --export=ALL "--output=$logs/$log" "${@:3}")
  if ((${#submitted[@]})); then
    options+=("--dependency=afterok:${submitted[-1]}" --kill-on-invalid-dep=yes)
  fi
  job="$(sbatch "${options[@]}" "$scripts/$step.sh")"
  submitted+=("${job%%;*}") # a cluster's name may follow
  echo "$step: job ${submitted[-1]}"
}

read -r -a begin <<<"${BEGIN_SBATCH:-}"
read -r -a convert <<<"${CONVERT_SBATCH:-}"
read -r -a finalize <<<"${FINALIZE_SBATCH:-}"
read -r -a train <<<"${TRAIN_SBATCH:-}"
read -r -a evaluate <<<"${EVALUATE_SBATCH:-} ${WAIT:+--wait}"
submit begin '%x-%j.log' "${begin[@]}"
submit convert '%x-%A_%a.log' "--array=0-$((TASKS - 1))" "${convert[@]}"
submit finalize '%x-%j.log' "${finalize[@]}"
submit train '%x-%A_%a.log' "--array=0-$((SHARDS - 1))" "${train[@]}"
submit evaluate '%x-%j.log' "${evaluate[@]}"

# To sbatch --wait, a job that was cancelled because another one failed has ended well.
if [[ ${WAIT:-} && $(scontrol show job "${submitted[-1]}") != *JobState=COMPLETED* ]]; then
  echo "Error: not all jobs were done. Where: $logs. Run next: what the log of the first that failed says" >&2
  exit 1
fi
