"""What runs the network: torch, torch with CUDA graphs, or OpenVINO."""
