"""Run the command as `python -m starvsr`."""

import sys

from starvsr.apps.cli import main

sys.exit(main())
