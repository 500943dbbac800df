"""Text conditioning: the CLIP tokenizer, the OpenCLIP text encoder, learned contexts."""
