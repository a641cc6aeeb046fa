"""Scoring: the base and the tuned model answer the same held-out rows.

rows      a held-out row as a question and the answer in the data, in tokens as in the training
generate  answers of many questions at once
losses    the loss of each row's answer, and the likeliest of several answers
compare   both models on the same rows, within a time limit
held_out  the losses of held-out rows during a training, and the adapter that is delivered
probe     general questions to both models: what the tuned one forgot
job       `fitune score`: the job, and the score at the end of a training
"""
