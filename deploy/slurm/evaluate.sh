#!/usr/bin/env bash
# Combines the branches when all are trained; the table is in the job's log. The variables stand in submit.sh.
#SBATCH --job-name=spectral-evaluate
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail
: "${RUN:?}"
read -r -a options <<<"${EVALUATE_OPTIONS:-}"
exec spectral-ensemble evaluate "$RUN" "${options[@]}"
