"""Networks: encoder and decoder, discriminator, pretrained features."""
