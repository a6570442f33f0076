"""What the client makes of a package's values schema: the default values file and the table of `--values-schema`.

The client (kctrl, and the tanzu CLI that carries it) reads the JSON of `spec.valuesSchema.openAPIv3` with a YAML
library, keeps the keywords it knows in lower case, fills in the defaults and prints what it gets. Every oddity of that
is kept here, since it decides what a package's users are given; `schema_traps` names the shapes to stay clear of.

Of the toolchain this package imports only how errors are reported and how large an input may be.
"""

from carvelwright.client.defaults import Client, default_values_file
from carvelwright.client.gojson import to_go_json
from carvelwright.client.reading import Schema, load_schema
from carvelwright.client.table import TableRow, schema_table, table_json, table_text
from carvelwright.client.traps import Trap, schema_traps

__all__ = [
    "Client",
    "Schema",
    "TableRow",
    "Trap",
    "default_values_file",
    "load_schema",
    "schema_table",
    "schema_traps",
    "table_json",
    "table_text",
    "to_go_json",
]
