#!/usr/bin/env bash
# sbatch cluster/slurm.sh recipe.toml: a Ray cluster of this job's nodes, one run on it, and its end.
# Submit it again after a time limit: what is committed stays. paths.out must lie on a file system that all nodes share.
#SBATCH --job-name=datasetddpm
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

recipe=$1
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(32))') # for this job only
export RAY_AUTH_TOKEN

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
    ray start --head --node-ip-address="$address" --port="$port" --include-dashboard=false --block &
sleep 15
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" --overlap \
        ray start --address="$address:$port" --block &
fi

srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap datasetddpm generate "$recipe" --address "$address:$port" &
driver=$!
trap 'kill -TERM "$driver"' TERM # Slurm's warning before the time limit: the driver ends in good order
wait "$driver" || wait "$driver"
