"""Figures of Section 2: Fig. 2, the same along the radius, and the growth of the dimension."""

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Annulus, Circle, FancyArrowPatch
from matplotlib.patheffects import withStroke

from condgen.files import atomic_write
from condgen.reports.figures import BLUE, GRAY, ORANGE, RED, STYLE
from condgen.theory import Counterexample, smallest_dimension
from condgen.theory.counterexample import INNER, OUTER
from condgen.theory.volumes import log_add, log_one_minus_exp, log_power_gap

GREEN = "#3f8f6b"
LIMIT = 3.2
DOTS_PER_INCH = 200
POSTERIOR = LinearSegmentedColormap.from_list("posterior", [ORANGE, "#f4f1ea", BLUE])
RADII = (0.5, 1e-2, 1e-4, 1e-6)
CENTRED: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7.5}
DELTAS = (0.1, 1e-2, 1e-6, 1e-12)
COLORS = (BLUE, GREEN, ORANGE, RED)
SHRINKING = np.logspace(-0.5, -12, 70).tolist()


def save_all(example: Counterexample, directory: Path) -> None:
    """Write ``figure-2``, ``radial-picture`` and ``growth`` as PNG and SVG files."""
    with matplotlib.rc_context(STYLE):
        for name, draw in (
            ("figure-2", figure_2),
            ("radial-picture", radial_picture),
            ("growth", growth),
        ):
            figure = draw(example)
            for kind in ("png", "svg"):
                with atomic_write(directory / f"{name}.{kind}") as path:
                    figure.savefig(path, format=kind, dpi=DOTS_PER_INCH)


def figure_2(example: Counterexample) -> Figure:
    """Fig. 2: class densities, Bayes-optimal classifier, and model with the attack.

    All on a plane through the origin.
    """
    figure = Figure(figsize=(5.6, 4.8), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    edge = 1 + example.radius
    for panel, color, weight, outer, title in (
        (axes[0], BLUE, example.lambda_1, (1.0, edge), "data of class 0,  $p(x\\,|\\,0)$"),
        (
            axes[1],
            ORANGE,
            example.lambda_2,
            (INNER, OUTER),
            "data of class 1,  $p(x\\,|\\,1) = q(x\\,|\\,1)$",
        ),
    ):
        _ring(panel, *outer, color, 0.75)
        _ring(panel, 0, 1, color, 0.25)
        panel.text(0, 0, f"weight\n{weight:.2g}", **CENTRED)
        panel.text(0, -sum(outer) / 2, f"{1 - weight:.4g}", **CENTRED)
        panel.set_title(title)
    for panel, symbol, in_ball, title in (
        (axes[2], "p", example.confidence_p, "Bayes-optimal classifier"),
        (axes[3], "q", 1 - example.confidence_q, "the model"),
    ):
        _ring(panel, INNER, OUTER, POSTERIOR(0.0))
        _ring(panel, 0, edge, POSTERIOR(1.0))
        _ring(panel, 0, 1, POSTERIOR(in_ball))
        color = "black" if 0.2 < in_ball < 0.8 else "white"
        panel.text(0, 0, f"${symbol}(0\\,|\\,x)$\n= {in_ball:.2g}", color=color, **CENTRED)
        panel.set_title(title)
    _arrow(axes[3], *(0.7071 * radius for radius in _attack(example)))
    for panel in axes:
        panel.set(
            xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), xticks=range(-3, 4), yticks=range(-3, 4)
        )
        panel.set_aspect("equal")
    for panel in axes[2:]:
        panel.set_xlabel("$x_1$")
    for panel in axes[::2]:
        panel.set_ylabel("$x_2$")
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 1), POSTERIOR)
    figure.colorbar(scale, ax=axes.tolist(), label="lower row: probability of class 0", aspect=40)
    return figure


def radial_picture(example: Counterexample) -> Figure:
    """Densities of the radius and of the images, along the radius, in the example's dimension."""
    figure = Figure(figsize=(5.6, 4.8), layout="constrained")
    mass, density = figure.subplots(2, 1, sharex=True)
    _draw_mass(mass, example)
    _draw_density(density, example)
    mass.set_title(f"d = {example.dimension:,}: where the samples are")
    density.set(xlabel="distance from the origin, ‖x‖", xlim=(0, 3.1))
    return figure


def growth(example: Counterexample) -> Figure:
    """The smallest dimension against epsilon, delta and radius; the others as in the example."""
    figure = Figure(figsize=(7.6, 2.8), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    epsilon, delta = example.epsilon, example.delta
    for radius, color in zip(RADII, COLORS, strict=True):
        _curve(
            axes[0], [(value, delta, radius) for value in SHRINKING], 0, color, f"Δ = {radius:g}"
        )
        _curve(
            axes[1], [(epsilon, value, radius) for value in SHRINKING], 1, color, f"Δ = {radius:g}"
        )
    for other_delta, color in zip(DELTAS, COLORS, strict=True):
        _curve(
            axes[2],
            [(epsilon, other_delta, value) for value in SHRINKING],
            2,
            color,
            f"δ = {other_delta:g}",
        )
    labels = ("ε, nats", "δ, probability", "Δ, length of the attack")
    fixed = (f"δ = {example.delta:g}", f"ε = {example.epsilon:g}", f"ε = {example.epsilon:g}")
    for panel, label, title in zip(axes, labels, fixed, strict=True):
        panel.set(xscale="log", yscale="log", xlabel=label, title=title)
        panel.invert_xaxis()
    for panel, value in zip(axes, (example.epsilon, example.delta, example.radius), strict=True):
        panel.plot(value, example.dimension, "o", color="black", markersize=4)
        panel.annotate(
            f"d = {example.dimension:,}",
            (value, example.dimension),
            (4, -9),
            textcoords="offset points",
            fontsize=7,
        )
    axes[0].set_ylabel("smallest dimension d")
    axes[0].legend(fontsize=7, loc="upper left")
    axes[2].legend(fontsize=7, loc="upper left")
    axes[0].set_ylim(top=1e14)
    return figure


def _draw_mass(axes: Axes, example: Counterexample) -> None:
    """log10 of the density of the radius: d r^(d-1) / (b^d - a^d) on each annulus."""
    edge, log_1, log_2 = 1 + example.radius, example.log_lambda_1, example.log_lambda_2
    of_q = [(0.0, edge, 0.0)]
    of_p_0 = [(0.0, 1.0, log_1), (1.0, edge, log_one_minus_exp(log_1))]
    of_1 = [(0.0, 1.0, log_2), (INNER, OUTER, log_one_minus_exp(log_2))]
    top, low = 0.0, 0.0
    for parts, color, width, name in (
        (of_p_0, BLUE, 3.0, "data, class 0"),
        (of_q, RED, 1.2, "model, class 0"),
        (of_1, ORANGE, 3.0, "data and model, class 1"),
    ):
        for number, (inner, outer, log_weight) in enumerate(parts):
            radius = np.linspace(max(inner, 1e-3), outer, 400)
            log_mass = (
                math.log(example.dimension)
                - log_power_gap(inner, outer, example.dimension)
                + log_weight
            )
            height = (log_mass + (example.dimension - 1) * np.log(radius)) / math.log(10)
            axes.plot(
                radius,
                height,
                color=color,
                linewidth=width,
                solid_capstyle="butt",
                label=name if number == 0 else None,
            )
            top, low = max(top, float(height.max())), min(low, float(height.min()))
    axes.set(ylabel="$\\log_{10}$ of the density of ‖x‖", ylim=(max(low, -9.0), top + 1))
    axes.legend(fontsize=7, loc="best")


def _draw_density(axes: Axes, example: Counterexample) -> None:
    """log10 of p(x) and q(x), in units of U(0, 1): flat between the edges."""
    regions, edges = example.regions, ((0.0, 1.0), (1.0, 1 + example.radius), (INNER, OUTER))
    ball, annulus, outer = ((density - math.log(2)) / math.log(10) for density, _ in regions)
    volume = example.log_growth + log_one_minus_exp(-example.log_growth)
    data = (
        (log_add(example.log_lambda_1, example.log_lambda_2) - math.log(2)) / math.log(10),
        (log_one_minus_exp(example.log_lambda_1) - volume - math.log(2)) / math.log(10),
        outer,
    )
    for number, (span, of_p, of_q) in enumerate(
        zip(edges, data, (ball, annulus, outer), strict=True)
    ):
        axes.plot(
            span,
            (of_p, of_p),
            color=GRAY,
            linewidth=5,
            alpha=0.45,
            solid_capstyle="butt",
            label=None if number else "data, p(x)",
        )
        axes.plot(
            span,
            (of_q, of_q),
            color=RED,
            linewidth=1.6,
            solid_capstyle="butt",
            label=None if number else "model, q(x)",
        )
    axes.axhline(annulus, color=GRAY, linestyle=":", linewidth=1, label="median density of q")
    start, end = _attack(example)
    axes.annotate(
        "",
        (end, ball),
        (start, annulus),
        arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.2},
    )
    axes.annotate(
        "attack",
        (start, (ball + annulus) / 2),
        (4, 0),
        textcoords="offset points",
        fontsize=8,
        va="center",
    )
    axes.set_ylabel("$\\log_{10}$ of the density of x\n(unit: uniform on the unit ball)")
    axes.margins(y=0.12)
    axes.legend(fontsize=7, loc="lower left")


def _attack(example: Counterexample) -> tuple[float, float]:
    """The median radius of an attackable sample, before and after the attack."""
    start = (1 + example.radius) * ((1 + math.exp(-example.log_growth)) / 2) ** (
        1 / example.dimension
    )
    return start, 1 - (1 + example.radius - start) / 2


def _ring(axes: Axes, inner: float, outer: float, color: object, alpha: float = 1.0) -> None:
    shape = Circle((0, 0), outer) if inner == 0 else Annulus((0, 0), outer, outer - inner)
    shape.set(facecolor=color, alpha=alpha, edgecolor="none")
    axes.add_patch(shape)


def _arrow(axes: Axes, start: float, end: float) -> None:
    halo = [withStroke(linewidth=4, foreground="white")]
    style: dict[str, Any] = {
        "arrowstyle": "-|>",
        "mutation_scale": 7,
        "color": RED,
        "linewidth": 1.8,
    }
    axes.add_patch(
        FancyArrowPatch(
            (start, start), (end, end), shrinkA=0, shrinkB=0, path_effects=halo, **style
        )
    )


def _curve(
    axes: Axes, asked: list[tuple[float, float, float]], varied: int, color: str, label: str
) -> None:
    """The smallest dimension for each (epsilon, delta, radius), against one of the three."""
    dimensions = [float(smallest_dimension(*values)) for values in asked]
    axes.plot([values[varied] for values in asked], dimensions, color=color, label=label)
