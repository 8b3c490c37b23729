"""Pure numpy: how labels become prompts, scores become probabilities, examples become weights.

Belongs here: functions of arrays and values that give the same answer on every machine.
Does not belong here: models, torch, files, clocks, randomness that is not an argument, queues.
Shapes speak one alphabet: N items, L labels, D dimensions, K prompts of a label, M null labels.
"""
