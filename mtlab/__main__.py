"""`python -m mtlab`: the same as the command `mtlab`."""

from mtlab.cli import main

raise SystemExit(main())
