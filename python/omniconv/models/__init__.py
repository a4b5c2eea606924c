"""Models of the literature on convolutions, with the parameter names of public checkpoints.

model = omniconv.models.create("resnet50").load("resnet50.safetensors")
logits = model(images)  # NumPy [N, 3, H, W]; PyTorch and JAX arrays after model.to("torch") or to("jax")
"""

from omniconv.models.registry import Entry, Model, create, entries, list, register, scale, table

__all__ = ["Entry", "Model", "create", "entries", "list", "register", "scale", "table"]
