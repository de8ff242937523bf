"""What the work runs on: seeds, devices, processes, files, interrupts."""
