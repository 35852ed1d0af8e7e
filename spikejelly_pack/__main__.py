"""``python -m spikejelly_pack`` is the ``spikepack`` command."""

from __future__ import annotations

import sys

from .cli import main

sys.exit(main())
