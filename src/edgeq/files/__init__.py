"""Files are read within limits and written whole or not at all; nothing else is left behind."""

from edgeq.files.interruption import ended_in_order, keeping
from edgeq.files.locks import in_use, name_beside
from edgeq.files.reading import (
    MAX_MODEL_BYTES,
    check_model_size,
    parse_toml,
    read_bytes,
    sha256_of,
)
from edgeq.files.scratch import temporary_folder
from edgeq.files.writing import (
    check_folder,
    check_output,
    whole_file,
    write_bytes,
    write_files,
    write_folder,
    write_json,
    write_text,
)

__all__ = [
    "MAX_MODEL_BYTES",
    "check_folder",
    "check_model_size",
    "check_output",
    "ended_in_order",
    "in_use",
    "keeping",
    "name_beside",
    "parse_toml",
    "read_bytes",
    "sha256_of",
    "temporary_folder",
    "whole_file",
    "write_bytes",
    "write_files",
    "write_folder",
    "write_json",
    "write_text",
]
