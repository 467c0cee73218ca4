"""`python -m mtlab.report.sync STORE STUDY SETTINGS NICE`: the process that `SyncProcess` starts."""

import sys

from mtlab.report.sync.process import main

main(sys.argv[1:])
