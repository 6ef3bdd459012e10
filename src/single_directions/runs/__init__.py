"""Runs: one network trained and measured as a configuration says, and the folder that holds what came out.

A command goes through these modules, each of which uses only those above it in its group and the groups before:

- **What a run is asked to do.** `config` composes and checks values, `keys` refuses keys without effect, `optimized`
  names the results that a search may ask for, `identity` says which settings count and names the run.
- **Its folder.** `lease` says which process works on it, `whole` checks its tables, `folder` reads and writes it.
- **One run.** `messages` words errors, `tracking` opens loggers, `build` makes the parts, `checkpoint` and `fit` train,
  `precise` estimates the AUC, `summary` collects the numbers, `run` does all of it. `target` loads a trained network
  again, for `measure.py`.
- **A sweep.** `sweep` lists its runs, `status` and `preview` show where they stand, `queue` executes them in any number
  of processes, `launchers` and `slurm` look after what runs them side by side, `search` chooses them by Optuna.
- **The command line.** `cli` is `train.py`, `status` is `status.py`. Hydra finds the sweepers and launchers in
  `hydra_plugins`, beside this package.
"""
