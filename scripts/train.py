"""Train and measure one network, or with -m a sweep of them: `python scripts/train.py -m experiment=memorization`."""

from single_directions.commands import train

if __name__ == "__main__":
    train()
