"""The training, one file for each part of it.

train               the whole training, top to bottom; the recipe as TRL's settings
model_with_adapter  the model: quantization, LoRA or DoRA with PEFT, gradient checkpointing, layers in RAM
training_rows       the rows: read, split, rendered and truncated; a warning if they changed since the run began
packing             several rows in one of full length
varlen_attention    the attention kernel for rows without padding
callbacks           events, checkpoints, evaluations; the stop on request, and the stop on NaN
samples             questions from the held-out rows, answered before, during and after the training
saved_adapter       the saved adapter; PiSSA and OLoRA turned into plain LoRA
record              the measured peak and pace, for the budgets of later runs
"""
