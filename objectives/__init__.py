"""What is tuned: data, models and training in PyTorch. Of Optuna it knows only distributions and the trial it is handed."""
