#!/bin/bash
# Two nodes with four GPUs each train one run as one. Eight devices divide the batches, and learning rates grow with them.
# Not run on a cluster yet: adapt names and paths.
#SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=4
hosts=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
export CLUSTER="\"${hosts[0]}:12345\", \"${hosts[1]}:12345\""
srun bash -c 'export TF_CONFIG="{\"cluster\": {\"worker\": [$CLUSTER]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_PROCID}}"
  exec python training/run.py --recipe hiast --data gta5_cityscapes --source-root /data/gta5 --target-root /data/city --out /shared/runs/hiast \
  --set data.schedules.warm_up.batch_size=8 data.schedules.warm_up.optimizer.learning_rate=5e-4 \
  data.schedules.alignment.batch_size=8 data.schedules.alignment.optimizer.learning_rate=2.8e-6 \
  data.schedules.rounds.batch_size=8 data.schedules.rounds.optimizer.learning_rate=3.5e-6'
