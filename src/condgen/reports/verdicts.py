"""Verdicts on the claims of the paper, and attacks that find more than the paper's."""

from collections.abc import Sequence

from condgen.reports.audited import Audited
from condgen.reports.claims import CLAIMS
from condgen.reports.evidence import Evidence
from condgen.reports.paper import attack_of, config_of
from condgen.reports.tables import Table, percent

SUPPORTED, AGAINST, OPEN, UNTESTED = "supported", "not supported", "undecided", "not tested"
CONSEQUENCE = {
    "mnist": "That a likelihood detector makes models of MNIST robust rests on the weaker attacks.",
    "cifar10": "That it fails on CIFAR10 becomes clearer.",
}


def verdict_of(evidence: Sequence[Evidence]) -> str:
    """The verdict of one test; only models that beat the simple densities count."""
    if not evidence:
        return UNTESTED
    found = {each.holds for each in evidence if each.counts}
    return SUPPORTED if found == {True} else AGAINST if found == {False} else OPEN


def joined(verdicts: Sequence[str]) -> str:
    """The verdict on a claim whose tests must all hold.

    >>> joined([SUPPORTED, AGAINST]), joined([SUPPORTED, UNTESTED])
    ('not supported', 'undecided')
    """
    if AGAINST in verdicts:
        return AGAINST
    return verdicts[0] if len(set(verdicts)) == 1 else OPEN


def stronger_than_the_paper(models: Sequence[Audited]) -> str:
    """The attacks of Table 2 that find more than the paper's, and what follows; empty if none."""
    found, data = [], set()
    for model in (model for model in models if model.has("adversarial")):
        for cell in model.record("adversarial").summary["cells"]:
            paper, config = attack_of(model, cell["attack"]), config_of(model)
            if paper is None or config is None:
                continue
            theirs = paper[1] if cell["detector_aware"] else paper[0]
            if 100 * cell["undetected_within_ci"][0] <= theirs:
                continue
            kind = "detector-aware" if cell["detector_aware"] else "on the classifier"
            ours = percent(cell["undetected_within"], cell["undetected_within_ci"])
            found.append(f"{cell['attack']}, {kind}, on {model.name}: {ours} %, {theirs} % there")
            data.add(config.data.name)
    if not found:
        return ""
    follows = " ".join(words for name, words in CONSEQUENCE.items() if name in data)
    return (
        "Attacks that find more undetected images within ε than the paper's (not quantized, as"
        f" there): {'; '.join(found)}. {follows}"
    )


def claims_table(models: Sequence[Audited]) -> Table:
    """A row for each claim: the test of it, what was found, and the verdict."""
    rows, numbers = [], []
    for claim in CLAIMS:
        found_by = [list(test.evidence(models)) for test in claim.tests]
        evidence = [each for found in found_by for each in found]
        verdict = joined([verdict_of(found) for found in found_by])
        left_out = any(not each.counts for each in evidence)
        note = " (†: not known to beat the simple densities, does not count)" if left_out else ""
        test = "; ".join(dict.fromkeys(test.words for test in claim.tests))
        words = "; ".join(each.found + ("" if each.counts else " †") for each in evidence)
        shown = f"{words}{note}" if evidence else "no model was audited for it"
        rows.append((claim.section, claim.sentence, test, shown, verdict))
        numbers.append(
            {
                "section": claim.section,
                "sentence": claim.sentence,
                "test": test,
                "verdict": verdict,
                "models": list(dict.fromkeys(name for each in evidence for name in each.models)),
                "evidence": [
                    {
                        "models": list(each.models),
                        "value": each.value,
                        "value_ci": list(each.interval),
                        "holds": each.holds,
                        "counts": each.counts,
                    }
                    for each in evidence
                ],
            }
        )
    return Table(
        "claims",
        "The claims of the paper",
        "A test supports a claim if, for each model, the whole 95 % interval is on the claim's side"
        " of the bound, and contradicts it if, for each model, it is on the other side. The bounds"
        " are ours. Intervals of differences are computed from both intervals. Successes"
        " of attacks are those of quantized images; they are lower bounds, with intervals up to"
        " 100 %, if a check for weak attacks failed.",
        ("section", "the paper", "test", "found", "verdict"),
        tuple(rows),
        tuple(numbers),
    )
