"""`python -m bit_keras` is `bit-keras`."""

import sys

from bit_keras.cli import main

sys.exit(main())
