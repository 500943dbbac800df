"""Peak memory of STAR on I2VGen-XL, counted from shapes. No torch."""
