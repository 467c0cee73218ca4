from mtlab.cli import main

raise SystemExit(main())
