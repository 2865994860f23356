"""A model, live and at rest: the only files that know the module names of Hugging Face's models."""
