"""The mathematics of quantization that several methods and targets share: ranges of activations, and histograms of them."""
