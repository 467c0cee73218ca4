"""The ablation language: a study file (`spec`) becomes rows (`expand`), cells with ids (`cells`), a plan (`plan`)."""
