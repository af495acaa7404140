#!/usr/bin/env bash
# Does once what the tasks of the array need: opens the source, calibrates, writes plan and catalogue. The variables stand
# in submit.sh.
#SBATCH --job-name=spectral-begin
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail
: "${DATASET:?}" "${OUT:?}" "${Q:?}"
read -r -a options <<<"${CONVERT_OPTIONS:-}"
exec spectral-prep begin --dataset "$DATASET" ${SOURCE:+--source "$SOURCE"} --q "$Q" --out "$OUT" "${options[@]}"
