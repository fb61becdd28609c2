#!/bin/bash
# On the device, with out/ carried: run.sh [COMMANDS] [LIMIT_SECONDS]. DATASET_MB caps the memory taken.
cd "$(dirname "$0")"
timeout ${2:-150} out/lab < ${1:-commands.txt} 2>&1 | tee ${OUT:-out}/log.txt
