"""Trainings that compare answers: DPO, ORPO and KTO.

trainers    the recipe as TRL's settings and its trainers, one for each objective
sets        the rows as TRL's trainers take them
cpu_head    the likelihoods of answers, on a processor
"""
