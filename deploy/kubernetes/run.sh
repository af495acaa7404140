#!/usr/bin/env bash
# Goes the whole road on Kubernetes: each job when the one before it is complete.
#
#   deploy/kubernetes/run.sh deploy/kubernetes/pvc       # or a folder of your own, copied from it and edited
#
# kubectl's own context and namespace count. What failed goes on where it stopped when the same line is run again.
set -euo pipefail

folder="${1:?a folder with settings.yaml, convert.yaml, finalize.yaml, train.yaml and evaluate.yaml}"
poll="${POLL:-10}" # seconds between two looks at a job

kubectl apply --filename "$folder/settings.yaml"
for step in convert finalize train evaluate; do
  job="job/spectral-$step"
  kubectl delete --ignore-not-found "$job" # a job that failed is not begun again by itself
  kubectl apply --filename "$folder/$step.yaml"
  ended=
  until [[ $ended == *Complete* || $ended == *Failed* ]]; do # SuccessCriteriaMet, FailureTarget: pods may still run
    sleep "$poll"
    ended="$(kubectl get "$job" --output 'jsonpath={.status.conditions[?(@.status=="True")].type}')"
  done
  if [[ $ended == *Failed* ]]; then
    echo "Error: $job failed. Run next: kubectl logs --selector job-name=spectral-$step, then the same line" >&2
    exit 1
  fi
done
kubectl logs "$job"
