"""A simulated second device: only shapes and devices are computed; mixing devices is an error."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from condgen import classifier as classifiers
from condgen import experiments, machine
from condgen.classifier import GenerativeClassifier, predict
from condgen.config import load_preset
from condgen.data.catalogue import open_dataset
from condgen.errors import ConfigError
from condgen.models.glow import coupling_network
from condgen.models.glow.actnorm import ActNorm
from condgen.models.glow.coupling_network import CouplingNetwork, convolutions
from condgen.models.pixelcnn import PixelCNN
from tests.conftest import TINY, shaken, tiny_glow

# The only other device on which a CPU build of torch computes gradients.
ELSEWHERE = torch.device("meta")


@pytest.fixture(params=["digits-reweight", "digits-split"])
def preset(request: pytest.FixtureRequest) -> str:
    return request.param


@contextmanager
def elsewhere(
    classifier: GenerativeClassifier, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GenerativeClassifier]:
    """The classifier on the meta device, without the checks that read values."""
    monkeypatch.setattr(classifiers, "check_images", lambda *_: None)
    for actnorm in (module for module in classifier.modules() if isinstance(module, ActNorm)):
        actnorm.settled = True
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield classifier.to(ELSEWHERE)
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def test_training_prediction_and_sampling_stay_on_one_device(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*TINY, "model.precision=bfloat16", "model.label_smoothing=0.1"]
    config, label = load_preset(preset, settings), torch.arange(4)
    objective = config.objective.objective()
    with elsewhere(
        experiments.build(config, open_dataset("digits")).classifier, monkeypatch
    ) as classifier:
        x = torch.rand(4, 1, 8, 8)
        with classifier.train().density.fresh_noise(torch.Generator().manual_seed(0)):
            loss = objective(classifier(x), label.to(classifier.device)).mean()
        loss.backward()
        assert loss.device == ELSEWHERE
        assert all(parameter.grad.device == ELSEWHERE for parameter in classifier.parameters())
        assert predict(classifier, x).log_joint.device.type == "cpu"
        z = classifier.density.prior.sample(label, 1.0, torch.Generator())
        assert classifier.density.decode(z).device == ELSEWHERE


def test_two_devices_are_not_mixed_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_preset("digits-base", TINY)
    with elsewhere(
        experiments.build(config, open_dataset("digits")).classifier, monkeypatch
    ) as classifier:
        classifier.density.noisy.fixed_offset = torch.zeros(1, 8, 8)
        with pytest.raises(RuntimeError, match="same device"):
            classifier.eval()(torch.rand(4, 1, 8, 8))


@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=str)
def test_the_path_of_other_devices_equals_that_of_the_cpu(
    precision: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x = (
        shaken(CouplingNetwork(2, 4, width=16, precision=precision)).train(),
        torch.randn(3, 2, 6, 6),
    )
    ours = network(x)
    monkeypatch.setattr(coupling_network, "BLOCKED_ON", ())
    theirs = network(x)
    assert theirs.dtype == torch.float32
    exact = convolutions(x, *list(network.parameters())[1:]) * (3 * network.log_gain).exp()
    tolerance = 1e-5 if precision is None else 3e-2
    assert (theirs - exact).norm() < tolerance * exact.norm()
    assert (ours - theirs).norm() < tolerance * exact.norm()


@pytest.mark.parametrize("prior", ["class-mixture", "split"])
def test_a_compiled_flow_has_no_breaks_and_the_same_gradients(
    prior: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coupling_network, "BLOCKED_ON", ())
    glow, x = tiny_glow(prior).train(), torch.rand(4, 1, 4, 4)

    def gradients() -> list[torch.Tensor]:
        with glow.fresh_noise(torch.Generator().manual_seed(0)):
            return list(torch.autograd.grad(glow.class_log_prob(x).sum(), list(glow.parameters())))

    gradients()  # the first call initializes actnorm
    plain = gradients()
    glow.compile_for_training(backend="aot_eager", mode=None)
    for compiled, expected in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(compiled, expected, rtol=1e-4, atol=1e-4)
    other = copy.deepcopy(glow)
    # A copy must use its own flow, not the original one.
    of_other = torch.autograd.grad(other.class_log_prob(x).sum(), list(other.flow.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in of_other)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # PyTorch's own look at it
def test_compiled_blocks_have_no_breaks_and_the_same_gradients() -> None:
    sizes = {"filters": 4, "blocks": 1, "levels": 2, "dropout": 0.0}
    model, x = PixelCNN(2, event_shape=(3, 4, 4), **sizes).train(), torch.rand(4, 3, 4, 4)

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(model.class_log_prob(x).sum(), list(model.parameters())))

    model.compile_for_training(backend="aot_eager")
    gradients()  # not compiled: the first call initializes the convolutions
    compiled = gradients()
    with torch.compiler.set_stance("force_eager"):
        plain = gradients()
    for ours, expected in zip(compiled, plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.prepare_device("auto") == machine.prepare_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device 'cuda' is not available"):
        machine.prepare_device("cuda")


@pytest.mark.parametrize(
    ("settings", "device", "said"),
    [
        ([], "cpu", r"training\.compile needs --device cuda"),
        (["model.memory=constant"], "cuda", r'training\.compile needs model\.memory = "standard"'),
        (
            ["model.name=pixelcnn", "model.memory=recompute"],
            "cuda",
            r'training\.compile needs model\.memory = "standard", but it is "recompute"',
        ),
        (["model=tests.toy:Toy"], "cuda", "Toy cannot be compiled; set training.compile to false"),
    ],
)
def test_compilation_where_it_cannot_be_is_refused(
    settings: list[str], device: str, said: str
) -> None:
    config = load_preset("digits-base", ["training.compile=true", *settings])
    with pytest.raises(ConfigError, match=said):
        experiments.build(config, open_dataset("digits"), torch.device(device))
