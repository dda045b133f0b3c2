"""What a configuration becomes on this machine, and what this machine cannot do."""

from condgen import machine
from condgen.config import Config
from condgen.data.catalogue import located
from condgen.errors import ConfigError


def resolved(config: Config, device: str = "cpu") -> Config:
    """``config`` with a ``model.precision`` of "auto" replaced by what this type of device multiplies fast."""
    if config.model.precision != "auto":
        return config
    return with_precision(config, "bfloat16" if machine.multiplies_bfloat16(device) else "float32")


def check_device(config: Config, device: str = "cpu") -> None:
    """Refuse to train on a type of device that cannot do what ``config`` asks for; audits run on any.

    Raises:
        ConfigError: Saying how to train all the same.
    """
    if config.model.precision == "bfloat16" and device == "cuda" and not machine.multiplies_bfloat16(device):
        raise ConfigError(
            "model.precision is 'bfloat16', but the CUDA device has no tensor cores for it; start a run with"
            " `--set model.precision=float32`, or train on another device, such as --device cpu. Audits run anywhere."
        )
    if config.training.compile and (device != "cuda" or config.model.memory == "constant"):
        found = f"the device is {device} and model.memory is '{config.model.memory}'"
        raise ConfigError(
            f'training.compile needs --device cuda and model.memory = "standard", but {found}; set it to false'
            " before a run begins, or meet both. A run begun with it goes on only so; its audits run anywhere."
        )


def with_precision(config: Config, precision: str) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update={"precision": precision})})


def at_its_place(config: Config) -> Config:
    """``config`` with its data where it is now, wherever the run is read from later."""
    return config.model_copy(update={"data": config.data.model_copy(update={"name": located(config.data.name)})})
