"""`python -m mtlab.tracking STORE STUDY SETTINGS NICE`: the process that `Following` starts."""

import sys

from mtlab.tracking.process import main

main(sys.argv[1:])
