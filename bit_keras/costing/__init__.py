"""The costs of a training (memory, multiply-adds, time), computed without building the network."""
