"""Texts with labels: from CSV files, from folders, and as arrays of tokens."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.dataset import ArrayDataset
from chainrule.data.text.base import Tokenizer
from chainrule.data.text.files import ENDINGS, read_text, text_files
from chainrule.data.text.padding import pad_sequences
from chainrule.errors import DataError
from chainrule.ops.origin import here

#: more classes than this, and more than half as many as texts, are no classes
MOST_CLASSES = 100
#: the longest field of a CSV file, in characters: a quote that is not closed ends here
LONGEST_FIELD = 1 << 24


class LabelledTexts:
    """Texts, the number of the class of each, and the classes' names.

    Args:
        texts: One or more.
        targets: Class numbers, (n,).
        class_names: In the order of their numbers.
        name: For messages and run folders.

    Raises:
        DataError: Lengths differ, there are no texts, or a label has no name.
    """

    def __init__(
        self, texts: Sequence[str], targets: Any, class_names: Sequence[str], name: str = ""
    ) -> None:
        self.texts = list(texts)
        self.targets = np.asarray(targets, np.int64)
        self.class_names = list(class_names)
        self.name = name
        if not self.texts or self.targets.shape != (len(self.texts),):
            raise DataError(
                "texts and labels do not fit each other",
                expected="one label for each text, and at least one text",
                got=f"{len(self.texts)} texts, labels of shape {self.targets.shape}",
                where=str(here()),
            )
        low, high = int(self.targets.min()), int(self.targets.max())
        if low < 0 or high >= len(self.class_names):
            raise DataError(
                "a label has no name",
                expected=f"labels 0 to {len(self.class_names) - 1}",
                got=f"labels {low} to {high}",
                where=str(here()),
            )

    def encode(self, tokenizer: Tokenizer, length: int | None = None) -> ArrayDataset:
        """The texts as rows of tokens of one length, with their labels.

        Args:
            tokenizer: Its token 0 fills up short rows (``<pad>`` of a ``WordTokenizer``).
            length: Tokens of a row, ≥ 1; None: those of the longest text. Longer ones are cut.

        Returns:
            Inputs (n, length), targets int64 (n,).
        """
        rows, _ = pad_sequences([tokenizer.encode(text) for text in self.texts], length)
        return ArrayDataset(rows, self.targets, class_names=self.class_names, name=self.name)

    def subset(self, rows: Any) -> LabelledTexts:
        """Some of the texts, in the given order; the classes stay.

        Args:
            rows: Numbers of texts, (m,).
        """
        chosen = np.asarray(rows, np.int64)
        texts = [self.texts[row] for row in chosen.tolist()]
        return LabelledTexts(texts, self.targets[chosen], self.class_names, self.name)

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"LabelledTexts({len(self):,} texts, {len(self.class_names)} classes)"


def text_csv(
    path: str | Path,
    *,
    text: str,
    target: str,
    delimiter: str | None = None,
    encoding: str = "utf-8",
) -> LabelledTexts:
    """Texts and their labels from two columns of a CSV file.

    Args:
        path: The file; its first line names the columns.
        text: Name of the column with the texts.
        target: Name of the column with the labels. They are numbered in the order of their
            spelling, whole numbers in that of their value.
        delimiter: Between the columns; None: a tab in files that end in .tsv, else a comma.
        encoding: Of the bytes.

    Raises:
        DataError: The file or a column is missing, a row has no such column or an empty label, or
            the labels are so many that they are no classes.
    """
    path = Path(path)
    if delimiter is None:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    texts, labels = [], []
    for line, row in _rows(path, (text, target), delimiter, encoding):
        if not row[1].strip():
            raise DataError(
                f"{path} has a row without a label",
                expected=f"something in the column {target!r}",
                got=f"nothing in the row that ends at line {line}",
                fix="drop such rows, or give them a label of their own",
                where=str(here()),
            )
        texts.append(row[0])
        labels.append(row[1].strip())
    if not texts:
        raise DataError(f"{path} has no rows", expected="one or more", where=str(here()))
    names = _class_names(labels, target)
    number_of = {name: number for number, name in enumerate(names)}
    return LabelledTexts(texts, [number_of[label] for label in labels], names, path.stem)


def _rows(
    path: Path, columns: tuple[str, str], delimiter: str, encoding: str
) -> Iterator[tuple[int, list[str]]]:
    """Two columns of a file, with the number of the line that each row ends at."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        codec = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
        with open(path, newline="", encoding=codec) as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = [name.strip() for name in next(reader, [])]
            for column in columns:
                if column not in header:
                    raise DataError(
                        f"{path} has no column {column!r}",
                        expected="one of " + ", ".join(map(repr, header[:20])),
                        got=repr(column),
                        where=str(here()),
                    )
            places = [header.index(column) for column in columns]
            for row in reader:
                if not row:
                    continue
                if len(row) <= max(places):
                    raise DataError(
                        f"{path} has a row with too few columns",
                        expected=f"{len(header)} columns",
                        got=f"{len(row)} in the row that ends at line {reader.line_num}",
                        fix="put texts that hold the delimiter into double quotes",
                        where=str(here()),
                    )
                yield reader.line_num, [row[place] for place in places]
    except (OSError, UnicodeDecodeError, LookupError, csv.Error) as error:
        raise DataError(
            f"{path} can not be read as CSV",
            expected=f"a text file in {encoding} with columns",
            got=getattr(error, "strerror", None) or str(error),
            where=str(here()),
        ) from None
    finally:
        csv.field_size_limit(before)


def _class_names(labels: Sequence[str], target: str) -> list[str]:
    distinct = set(labels)
    if len(distinct) > MOST_CLASSES and len(distinct) > len(labels) / 2:
        raise DataError(
            f"the column {target!r} holds no classes",
            expected="few labels that come again and again",
            got=f"{len(distinct)} different ones in {len(labels)} rows",
            fix="is the right column named?",
            where=str(here()),
        )
    try:
        return sorted(distinct, key=lambda label: (int(label), label))
    except ValueError:
        return sorted(distinct)


def text_folder(path: str | Path, *, encoding: str = "utf-8") -> LabelledTexts:
    """Texts by class: one folder a class with a text a file, or one file a class with one a line.

    ``positive/1.txt``, ``positive/2.txt``, … or ``positive.txt`` with a text in each line. Classes
    are numbered in the order of their names; files come in the order of theirs. Lines end at line
    feeds alone, empty ones are passed over, and spaces around a text are taken off.

    Args:
        path: The folder.
        encoding: Of the files.

    Raises:
        DataError: There are not at least two classes, or a file can not be read.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(
            f"{root} is no folder of texts",
            expected="a folder with a folder or a file for each class",
            got="a file" if root.exists() else "no such folder",
            fix="text_csv(path, text=…, target=…)" if root.suffix.lower() == ".csv" else "",
            where=str(here()),
        )
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in ENDINGS]
    classes = folders or files
    if len(classes) < 2:
        raise DataError(
            f"{root} holds fewer than two classes",
            expected="two or more folders of text files, or two or more text files",
            got=f"{len(folders)} folders and {len(files)} text files",
            fix="a text without labels is read by read_text",
            where=str(here()),
        )
    texts: list[str] = []
    targets: list[int] = []
    for number, entry in enumerate(classes):
        found = _texts_of(entry, encoding)
        texts += found
        targets += [number] * len(found)
    names = [entry.name if entry.is_dir() else entry.stem for entry in classes]
    return LabelledTexts(texts, targets, names, root.resolve().name)


def _texts_of(entry: Path, encoding: str) -> list[str]:
    if entry.is_dir():
        return [read_text(file, encoding).strip() for file in text_files(entry)]
    # not splitlines: it would cut at characters such as U+0085, which stand inside of texts
    lines = (line.strip() for line in read_text(entry, encoding).split("\n"))
    return [line for line in lines if line]
