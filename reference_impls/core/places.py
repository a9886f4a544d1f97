"""Names of models and data sets, as options take them: a path, or an id of the hub."""

from __future__ import annotations

import os
import re

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?::.+)?", re.ASCII)


def there(name: str) -> bool:
    """Whether a path exists, or a name may be that of something on the hub: `owner/name`, of a data
    set also `owner/name:configuration`. The hub is not asked."""
    return os.path.exists(os.path.expanduser(name)) or _HUB.fullmatch(name) is not None
