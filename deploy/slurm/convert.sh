#!/usr/bin/env bash
# Converts what one task of an array has to; requeued, it goes on where it stopped. The variables stand in submit.sh.
#SBATCH --job-name=spectral-convert
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail
: "${DATASET:?}" "${OUT:?}" "${Q:?}" "${TASKS:?how many tasks share the work}"
: "${SLURM_ARRAY_TASK_ID:?set by sbatch --array=0-$((TASKS - 1))}"
read -r -a options <<<"${CONVERT_OPTIONS:-} ${TASK_OPTIONS:-}"
# Not of SLURM_ARRAY_TASK_COUNT: an array that repeats task 3 alone is one of 1, and task 3 is one of all.
exec spectral-prep convert --dataset "$DATASET" ${SOURCE:+--source "$SOURCE"} --q "$Q" --out "$OUT" \
  --task "$SLURM_ARRAY_TASK_ID/$TASKS" "${options[@]}"
