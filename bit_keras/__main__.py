"""`python -m bit_keras` runs the same program as the command `bit-keras`."""

import sys

from bit_keras.cli.main import main

sys.exit(main())
