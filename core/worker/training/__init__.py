"""The training, one file for each part of it.

train               the whole training, top to bottom
trainer             the recipe as TRL's settings, and its trainer
model_with_adapter  the model: quantization, LoRA or DoRA with PEFT, gradient checkpointing, layers in RAM
packing             several rows in one of full length
varlen_attention    the attention kernel for rows without padding
callbacks           events, the times of checkpoints and evaluations, the stop on request
trackers            experiment trackers, which never end a training
samples             questions from the held-out rows, answered before, during and after the training
record              the measured peak and pace, for the budgets of later runs
objectives/         trainings that compare answers: DPO, ORPO and KTO
saving/             checkpoints, a copy of the run elsewhere, and the adapter; PiSSA and OLoRA turned into plain LoRA
recovery/           what it does by itself when something goes wrong
"""
