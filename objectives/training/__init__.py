"""How networks train: stacks of networks, cohorts of trials, losses, optimizers, recipes."""
