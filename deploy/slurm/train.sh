#!/usr/bin/env bash
# Trains one branch on its shard; requeued, it goes on after its last whole epoch. The variables stand in submit.sh.
#SBATCH --job-name=spectral-train
#SBATCH --output=%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail
: "${OUT:?}" "${RUN:?}" "${SHARDS:?how many branches there are}"
: "${SLURM_ARRAY_TASK_ID:?set by sbatch --array=0-$((SHARDS - 1))}"
read -r -a options <<<"${TRAIN_OPTIONS:-}"
exec spectral-train --shard "$SLURM_ARRAY_TASK_ID" --shards "$SHARDS" --data "$OUT" --run "$RUN" "${options[@]}"
