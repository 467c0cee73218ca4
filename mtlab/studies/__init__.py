"""The ablation language: a study file (`spec`) becomes rows (`expand`), cells with an id (`cells`) and a plan (`plan`)."""
