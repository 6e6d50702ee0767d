"""Fine-tuning, pre-training and distillation, all built on Keras' own `model.fit`."""
