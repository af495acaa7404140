#!/usr/bin/env bash
# Completes the data set when all tasks are done. The variables stand in submit.sh.
#SBATCH --job-name=spectral-finalize
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail
: "${OUT:?}"
exec spectral-prep finalize "$OUT"
