"""The tables of docs/performance.md; rewrites the text between two comments."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.evidence import RESULTS
from condgen.files import atomic_write

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
NAMES = {
    "condgen bfloat16": "**condgen**, bfloat16 products",
    "condgen float32": "**condgen**, float32",
    "library bfloat16": "condgen's flow, PyTorch's convolutions in bfloat16",
    "library float32": "condgen's flow, PyTorch's convolutions in float32",
    "normflows": "normflows",
    "normflows tuned": "normflows with condgen's allocator settings",
    "FrEIA": "FrEIA",
    "FrEIA tuned": "FrEIA with condgen's allocator settings",
}


def speeds(records: list[dict[str, Any]]) -> str:
    """A table for each machine, and the cost of bfloat16."""
    return "\n\n".join([*map(table, records), cost(records[0])])


def table(results: dict[str, Any]) -> str:
    """Images per second of each library, then the benchmark setup."""
    speeds = results["images_per_second"]
    threads = sorted(speeds, key=int)
    kinds = [(kind, number) for kind in ("training", "likelihood") for number in threads]
    words = {"training": "training", "likelihood": "log p(x \\| y), 10 classes"}
    head = [
        "images/s",
        *(f"{words[kind]}, {number} thread{'s' * (number != '1')}" for kind, number in kinds),
    ]
    rows = [
        [name, *(f"{speeds[number][key][kind]:.1f}" for kind, number in kinds)]
        for key, name in NAMES.items()
        if key in speeds[threads[0]]
    ]
    return in_markdown(head, rows) + "\n\n" + about(results)


def in_markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *rows))


def about(results: dict[str, Any]) -> str:
    """Setup, machine and versions, then ratios, GFLOP/s and memory."""
    versions = ", ".join(
        f"{name} {results['versions'][name]}" for name in ("python", "torch", "normflows", "FrEIA")
    )
    precision, share = list(results["fraction_of_limit"].items())[-1]
    lines = [
        "Glow at the paper's MNIST shape: 4 levels of 12 blocks, width 128, 2x32x32 inputs,"
        " batch 64; likelihoods timed in training mode.",
        f"`make bench-flow` on {results['machine']}; {versions}; commit {results['commit'][:7]}.",
        *(
            f"{words}: training at {times(results, 'train', suffix)} normflows' speed, likelihoods"
            f" at {times(results, 'likelihood', suffix)}."
            for words, suffix in (("One thread", ""), ("Two threads", "_2_threads"))
            if f"train_ratio_normflows_tuned{suffix}" in results
        ),
        f"Training in {precision} reaches {results['training_gflops'][precision]:.0f} GFLOP/s,"
        f" {share:.1%} of the machine's limit for products.",
        'With `model.memory = "constant"`, 48 instead of 12 blocks per level add'
        f" {results['memory_growth_constant']:.1%} to the peak"
        f" (otherwise {results['memory_growth_stored']:.0%}),"
        f" at {results['constant_time_ratio']:.2f} times the time.",
    ]
    return "\n".join(lines)


def cost(results: dict[str, Any]) -> str:
    """Cost of bfloat16 in bits/dim and accuracy, from ``bf16.json``."""
    bits, accuracy = results["bf16_bits_per_dim_difference"], results["bf16_accuracy_difference"]
    return (
        "Trained in bfloat16 instead of float32, mnist-reweight-small ends"
        f" {bits:+z.3f} bits/dim and {100 * accuracy:+z.2f} points away"
        f" (mean of {results['bf16_seeds']} seeds)."
    )


def times(results: dict[str, Any], kind: str, suffix: str) -> str:
    """Speed relative to normflows, as installed (if measured) and with allocator settings."""
    tuned = f"{results[f'{kind}_ratio_normflows_tuned{suffix}']:.1f} times"
    installed = f"{kind}_ratio_normflows{suffix}"
    return (
        f"{results[installed]:.1f} times ({tuned} with the allocator settings)"
        if installed in results
        else tuned
    )


def attacks(results: dict[str, Any]) -> str:
    """Setup, then seconds, distances and success rates of each attack on the small CNN."""
    images, libraries = results["images"], results["libraries"]
    head = ["", "seconds", "median L2", "success", "of these stored in 8 bits, median L2"]
    rows = [
        [
            name,
            f"{cell['seconds']:.2f}",
            length(cell["median_l2"]),
            f"{cell['success']:.0%}",
            f"{cell['success_after_rounding']:.0%}, {length(cell['median_l2_stored'])}",
        ]
        for name, cell in results["attacks"]["cnn"].items()
    ]
    said = (
        f"Attacks on a small CNN and {images['gradient-based']} MNIST images,"
        f" the boundary attacks and HopSkipJump on {images['decision-based']}"
        f" with {results['queries']} queries, one thread.\n"
        f"`make bench-attacks` on {results['device']}; foolbox {libraries['foolbox']}, ART"
        f" {libraries['adversarial-robustness-toolbox']}; commit {results['commit'][:7]}."
        f" The seconds are medians of {results['rounds']} alternating rounds.\n"
        "ART draws its first images without a seed, so that its row pools"
        f" {results['rounds']} draws; the others find the same in each round."
    )
    return said + "\n\n" + in_markdown(head, rows)


def pixelcnn(results: dict[str, Any]) -> str:
    """Images per second of both implementations, then sampling and memory."""
    names = {
        "condgen bfloat16": "**condgen**, bfloat16 products",
        "condgen float32": "**condgen**, float32",
        "plain tuned": "the same network in plain PyTorch, float32, condgen's allocator settings",
    }
    speeds = results["images_per_second"]
    threads = sorted(speeds, key=int)
    kinds = [(kind, number) for kind in ("training", "likelihood") for number in threads]
    head = ["images/s", *(f"{kind}, {counted(number)}" for kind, number in kinds)]
    rows = [
        [name, *(f"{speeds[number][key][kind]:.2f}" for kind, number in kinds)]
        for key, name in names.items()
        if key in speeds[threads[0]]
    ]
    precision, share = list(results["fraction_of_limit"].items())[-1]
    said = [
        "PixelCNN++ with the paper's 160 filters and 3 resolutions, blocks per resolution:"
        f" {results['blocks']} (the paper: 5); 3x32x32 images, 10 classes, batch"
        f" {results['batch']}.",
        f"`make bench-pixelcnn` on {results['machine']}; torch {results['versions']['torch']};"
        f" commit {results['commit'][:7]}.",
        f"Training in {precision} reaches {results['training_gflops'][precision]:.0f} GFLOP/s,"
        f" {share:.1%} of the machine's limit for products.",
        "",
        *(
            f"Sampling at the paper's size, {counted(number)}:"
            f" {cell['seconds_per_image_at_1']:.1f} s for one image,"
            f" {cell['times_naive_at_1']:.0f} times as fast as one pass per pixel;"
            f" {cell['seconds_per_image_at_16']:.2f} s per image for 16 at once,"
            f" {cell['times_naive_at_16']:.0f} times as fast."
            for number, cell in sorted(results["sampling"].items())
        ),
        "For 16 images, one thread reaches"
        f" {results['sampling_fraction_of_limit']:.1%} of the machine's limit for float32.",
        'With `model.memory = "recompute"`, the peak of a training step at the paper\'s size is'
        f" {results['recomputed_memory_ratio']:.0%} of the usual one, at"
        f" {results['recomputed_time_ratio']:.2f} times the time.",
    ]
    return in_markdown(head, rows) + "\n\n" + "\n".join(said)


def counted(threads: str) -> str:
    """Number of threads in words."""
    return "one thread" if threads == "1" else f"{threads} threads"


def length(value: float | None) -> str:
    """A dash for None: more than half of the images keep their class."""
    return "–" if value is None else f"{value:.3f}"


def flows() -> list[dict[str, Any]]:
    """Results of ``make bench-flow``: ``flow.json``, then each ``flow-MACHINE.json``."""
    return [
        json.loads(path.read_text())
        for path in (RESULTS / "flow.json", *sorted(RESULTS.glob("flow-*.json")))
    ]


def sections() -> dict[str, str]:
    """The text of each record, by its name."""
    return {
        "flow.json": speeds(flows()),
        "attacks.json": attacks(json.loads((RESULTS / "attacks.json").read_text())),
        "pixelcnn.json": pixelcnn(json.loads((RESULTS / "pixelcnn.json").read_text())),
    }


def rewritten(text: str, contents: Mapping[str, str]) -> str:
    """The page with new tables."""
    for name, content in contents.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise SystemExit(
                f"docs/performance.md has no '{begin}' and '{end}';"
                " put them where the table belongs."
            )
        text = f"{before}{begin}\n{content}\n{end}{after}"
    return text


def main() -> None:
    text = rewritten(PAGE.read_text(), sections())
    with atomic_write(PAGE) as work:
        work.write_text(text)


if __name__ == "__main__":
    main()
