"""Modules that training and audits import late: a process imports them once, before it forks."""

import importlib

for name in (
    "condgen.models.glow",
    "condgen.models.pixelcnn",
    "condgen.training.flow_gan",
    "skimage.data",
    "sklearn.datasets",
    "torch._dynamo",  # which torch.optim imports; without compiled bytecode this takes seconds
):
    importlib.import_module(name)
