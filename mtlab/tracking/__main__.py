"""`python -m mtlab.tracking STORE STUDY SETTINGS`: the process that `Following` starts."""

import sys

from mtlab.tracking.process import main

main(sys.argv[1:])
