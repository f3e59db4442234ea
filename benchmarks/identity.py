"""Content addresses: the sha256 of a canonical JSON text. Full digests everywhere; shortened only for display."""

import hashlib
import json
from typing import Any

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(value: Any) -> str:
    """One JSON text per value: sorted keys, no spaces, no NaN."""
    return _encode(value)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of ``value``, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def short(identity: str) -> str:
    """The first 10 digits of an identity, for display only."""
    return identity[:10]
