"""The README's tables of speeds, one for each machine measured; rewrites what stands between two comments."""

import json
from pathlib import Path
from typing import Any

from benchmarks.evidence import RESULTS
from condgen.files import written_whole

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- flow.json: begin -->", "<!-- flow.json: end -->"
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


def table(results: dict[str, Any]) -> str:
    """Images per second of each library, then what they were measured on."""
    speeds = results["images_per_second"]
    threads = sorted(speeds, key=int)
    kinds = [(kind, number) for kind in ("training", "likelihood") for number in threads]
    words = {"training": "training", "likelihood": "log p(x \\| y), 10 classes"}
    head = ["images/s", *(f"{words[kind]}, {number} thread{'s' * (number != '1')}" for kind, number in kinds)]
    rows = [
        [name, *(f"{speeds[number][key][kind]:.1f}" for kind, number in kinds)]
        for key, name in NAMES.items()
        if key in speeds[threads[0]]
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + about(results)


def about(results: dict[str, Any]) -> str:
    """What was compared, on which machine, with which versions, and the figures that are no speeds."""
    versions = ", ".join(f"{name} {results['versions'][name]}" for name in ("python", "torch", "normflows", "FrEIA"))
    precision, share = list(results["fraction_of_limit"].items())[-1]
    lines = [
        "Glow at the paper's MNIST shape: 4 levels of 12 blocks, width 128, 2x32x32 inputs, batch 64; likelihoods timed in"
        " training mode.",
        f"`make bench-flow` on {results['machine']}; {versions}; commit {results['commit'][:7]}.",
        *(
            f"{words}: training at {times(results, 'train', suffix)} normflows' speed, likelihoods"
            f" at {times(results, 'likelihood', suffix)}."
            for words, suffix in (("One thread", ""), ("Two threads", "_2_threads"))
            if f"train_ratio_normflows_tuned{suffix}" in results
        ),
        f"Training in {precision} reaches {results['training_gflops'][precision]:.0f} GFLOP/s,"
        f" {share:.1%} of the machine's limit for products.",
        f'With `model.memory = "constant"`, 48 instead of 12 blocks per level add {results["memory_growth_constant"]:.1%} to'
        f" the peak (otherwise {results['memory_growth_stored']:.0%}), at {results['constant_time_ratio']:.2f} times the time.",
    ]
    return "\n".join(lines)


def cost(results: dict[str, Any]) -> str:
    """Of bfloat16, as :mod:`benchmarks.precision` found it, on whichever machine."""
    bits, accuracy = results["bf16_bits_per_dim_difference"], results["bf16_accuracy_difference"]
    return (
        f"Trained in bfloat16 instead of float32, mnist-reweight-small ends {bits:+z.3f} bits/dim and"
        f" {100 * accuracy:+z.2f} points away (mean of {results['bf16_seeds']} seeds)."
    )


def times(results: dict[str, Any], kind: str, suffix: str) -> str:
    """How many times as fast; the peers as installed, where that was measured, and with condgen's allocator settings."""
    tuned = f"{results[f'{kind}_ratio_normflows_tuned{suffix}']:.1f} times"
    installed = f"{kind}_ratio_normflows{suffix}"
    return f"{results[installed]:.1f} times ({tuned} with the allocator settings)" if installed in results else tuned


def measured() -> list[dict[str, Any]]:
    """What ``make bench-flow`` wrote: ``flow.json``, then ``flow-MACHINE.json`` from others."""
    return [json.loads(path.read_text()) for path in (RESULTS / "flow.json", *sorted(RESULTS.glob("flow-*.json")))]


def rewritten(text: str, records: list[dict[str, Any]]) -> str:
    """The README with its tables made anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"README.md has no '{BEGIN}' and '{END}'; put them where the table belongs.")
    tables = "\n\n".join([*map(table, records), cost(records[0])])
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def main() -> None:
    text = rewritten(README.read_text(), measured())
    with written_whole(README) as work:
        work.write_text(text)


if __name__ == "__main__":
    main()
