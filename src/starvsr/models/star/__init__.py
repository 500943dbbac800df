"""The STAR network: video UNet, ControlNet, Local Information Enhancement Module."""
