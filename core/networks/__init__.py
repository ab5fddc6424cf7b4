"""Networks: encoder and decoder, discriminator, transformer, pretrained features."""
