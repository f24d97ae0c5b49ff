"""Figures of a study, of its hyperparameters and of its best model."""
