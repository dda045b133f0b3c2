"""The plain PixelCNN++ of the benchmark is the same network as ours."""

import pytest
import torch
from torch import nn

from benchmarks import pixelcnn
from condgen.models.pixelcnn.convolution import Convolution


def test_the_plain_implementation_has_our_likelihoods(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FILTERS": 6, "BLOCKS": 1, "LEVELS": 2}.items():
        monkeypatch.setattr(pixelcnn, name, value)
    ours, plain = pixelcnn.ours().double().eval(), pixelcnn.Plain().double().eval()
    levels = [ours.network.level, ours.network.level.inner]
    first = ours.network.first
    pairs: list[tuple[Convolution, nn.Module]] = [
        (first.vertical, plain.u_first.layer),
        (first.row_above, plain.ul_above),
        (first.column_left, plain.ul_left),
    ]
    for stream, prefix in (("vertical", "u"), ("horizontal", "ul")):
        for number, level in enumerate(levels):
            for way in ("down", "up"):
                blocks = getattr(plain, f"{prefix}_{way}")[number]
                for mine, theirs in zip(getattr(level, way), blocks, strict=True):
                    block = getattr(mine, stream)
                    pairs += [
                        (block.first, theirs.first.layer),
                        (block.second, theirs.second.layer),
                    ]
                    if block.skip is not None:
                        pairs.append((block.skip, theirs.extra))
        pairs += [
            (getattr(levels[0].halve, stream), getattr(plain, f"{prefix}_halve")[0].layer),
            (getattr(levels[0].upsample, stream), getattr(plain, f"{prefix}_double")[0].layer),
        ]
    with torch.no_grad():
        for mine, theirs in pairs:
            mine.gain.uniform_(0.5, 1.5)
            mine.bias.uniform_(-0.5, 0.5)
            gain, direction = theirs.parametrizations.weight.parameters()
            gain.copy_(mine.gain.view_as(gain))
            direction.copy_(mine.direction)
            theirs.bias.copy_(mine.bias)
        output = ours.mixture.output
        output.deviation.normal_()
        plain.last.weight.copy_(output.weight())
        plain.last.bias.copy_(output.bias)
    of_ours, of_shared, of_plain = (
        sum(p.numel() for p in module.parameters()) for module in (ours, output.shared, plain)
    )
    assert of_ours == of_plain + of_shared
    x = pixelcnn.images()[:4].double()
    torch.testing.assert_close(ours.class_log_prob(x), plain(2 * x - 1), rtol=1e-4, atol=1e-2)
