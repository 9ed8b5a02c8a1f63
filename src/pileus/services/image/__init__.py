"""The image service: disk images with their metadata, speaking the Image API v2."""
