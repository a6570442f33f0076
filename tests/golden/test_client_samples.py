"""The real client's own output, byte for byte: NAME.json in, NAME.A.txt, NAME.B.txt and NAME.table.json out.

A.txt is kctrl 0.45, B.txt kctrl 0.46 and later; an empty file stands for an error and no output.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from carvelwright.client import Client, default_values_file, load_schema, schema_table, table_json
from carvelwright.errors import CarvelwrightError, ExitCode

SAMPLES = Path(__file__).parent / "default-values"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.json") if not path.name.endswith(".table.json"))


def test_there_are_samples() -> None:
    assert len(NAMES) >= 6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("client", "suffix"), [(Client.KCTRL_0_45, "A.txt"), (Client.KCTRL_0_46, "B.txt")])
def test_default_values_file(name: str, client: Client, suffix: str) -> None:
    source = SAMPLES / f"{name}.json"
    schema = load_schema(source.read_bytes(), source)
    expected = (SAMPLES / f"{name}.{suffix}").read_bytes()
    if expected:
        assert default_values_file(schema, client).encode() == expected
    else:
        with pytest.raises(CarvelwrightError) as caught:
            default_values_file(schema, client)
        assert caught.value.exit_code is ExitCode.CLIENT


@pytest.mark.parametrize("name", NAMES)
def test_table(name: str) -> None:
    source = SAMPLES / f"{name}.json"
    rows = schema_table(load_schema(source.read_bytes(), source))
    assert table_json(rows).encode() == (SAMPLES / f"{name}.table.json").read_bytes()
