"""The only files that know the module names of Hugging Face's models."""
