"""How the guest image is made: packages, file trees, disk, clock figures. Python standard library only."""
