"""Hygiene of text files: no trailing white space, one newline at the end, no conflict marks, nothing huge.

Usage: check_text.py FILE...
"""

import pathlib
import sys

_LARGEST = 500_000  # bytes; what is larger is data, and belongs elsewhere
_CONFLICT = ("<" * 7 + " ", ">" * 7 + " ")


def complaints(path: pathlib.Path) -> list[str]:
    """What is wrong with one file, each with the line it is wrong in."""
    text = path.read_text(encoding="utf-8")
    found = []
    if len(text.encode()) > _LARGEST:
        found.append(f"{path}: larger than {_LARGEST} bytes")
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        found.append(f"{path}: does not end with exactly one newline")
    if "\r" in text:
        found.append(f"{path}: has Windows line ends")
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip():
            found.append(f"{path}:{number}: trailing white space")
        if line.startswith(_CONFLICT):
            found.append(f"{path}:{number}: a conflict mark")
        if path.suffix == ".py" and "\t" in line:
            found.append(f"{path}:{number}: a tab")
    return found


if __name__ == "__main__":
    found = [complaint for name in sys.argv[1:] for complaint in complaints(pathlib.Path(name))]
    print("\n".join(found), end="\n" if found else "")
    raise SystemExit(bool(found))
