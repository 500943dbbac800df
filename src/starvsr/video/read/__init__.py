"""Reading media: probing, decoding, timestamps, damage, images."""
