"""SavedModels that others can fine-tune and serve, and a Keras layer over theirs."""
