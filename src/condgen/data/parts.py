"""The part of a data set (train, validation, test) that a file or folder name stands for."""

import re

PART_OF_WORD = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
PATTERN = re.compile(rf"(?:^|[_.\- \d])({'|'.join(PART_OF_WORD)})(?=[_.\- \d]|$)", re.IGNORECASE)
HOW_TO_NAME = "name the parts train, validation and test"


def part_of(name: str) -> str:
    """The part that a name stands for, or ""; the words are those of the Hugging Face Hub.

    >>> part_of("train-00000-of-00001.parquet"), part_of("Eval"), part_of("train2")
    ('train', 'test', 'train')
    >>> part_of("trains"), part_of("train-test")
    ('', '')
    """
    found = {PART_OF_WORD[word.lower()] for word in PATTERN.findall(name)}
    return found.pop() if len(found) == 1 else ""
