"""Makes docs/assets/fonts/stix-two-math.woff2, the font of equations, from STIX Two Math.

Without a font that has a table MATH a browser cannot stretch a parenthesis. The whole font has
400 kB, so that only the characters stay that equations of this field use; the licence, next to the
font, is the SIL Open Font License 1.1. Needs fonttools and brotli. The original is the file
`files/stix-two-math-latin-400-normal.woff2` of the npm package @fontsource/stix-two-math 5.3.0,
version 2.12 of the font:

    npm pack @fontsource/stix-two-math@5.3.0 && tar xzf fontsource-stix-two-math-5.3.0.tgz
    python tools/math_font.py package/files/stix-two-math-latin-400-normal.woff2
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHARACTERS = {
    "ASCII, signs and dotless letters": "20-7E,A0,AC,AF,B1,B7,D7,F7,131,237",
    "accents, also combining": "2C6,2C7,2D8-2DC,302-304,307,30A,20D7",
    "Greek": "393,394,398,39B,39E,3A0,3A3,3A5,3A6,3A8,3A9,3B1-3C9,3D1,3D5,3D6,3F0,3F1,3F5",
    "bars, dots, primes, invisible operators": "2016,2026,2032-2034,203E,2061-2064",
    "letter-like": "2102,210B,210E,2110-2113,2115,211A,211B,211D,2124,212C,2130,2131,2133",
    "arrows": "2190-2195,21A6,21D0-21D4,27F5-27FA",
    "operators and relations": "2200-2209,220B,220F-2213,2215-221E,2223-222E,2234-223C,2243,2245,"
    "2248,2260-2265,226A,226B,227A,227B,2282-2287,2295-2299,22A4,22A5,22C0-22C5,22EE-22F1,"
    "2A7D,2A7E",
    "brackets and their pieces": "2308-230B,239B-23AE,23B4,23B5,23DC-23DF,27E8-27EB",
    "letters of mathematics: bold, italic, script, Fraktur, double-struck": "1D400-1D467,"
    "1D49C-1D4CF,1D504-1D51C,1D538-1D56B,1D6A4,1D6A5,1D6A8-1D755",
}
"""What it is -> code points, hexadecimal."""
OUT = Path(__file__).parents[1] / "docs" / "assets" / "fonts" / "stix-two-math.woff2"


def main(original: str) -> None:
    """Writes the subset; `ssty` are the smaller shapes of superscripts."""
    points = ",".join(f"U+{each}" for each in ",".join(CHARACTERS.values()).split(","))
    subset = [
        sys.executable, "-m", "fontTools.subset", original, f"--unicodes={points}",
        "--layout-features=ssty", "--no-hinting", "--desubroutinize",
        "--name-IDs=0,1,2,3,4,5,6,13,14", "--flavor=woff2", f"--output-file={OUT}",
    ]  # fmt: skip
    subprocess.run(subset, check=True)
    print(f"{OUT}: {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/math_font.py ORIGINAL.woff2")
    main(sys.argv[1])
