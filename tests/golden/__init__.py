"""Golden values: what the services answer, compared with what they answered when the values were written."""

import os

# OpenBLAS chooses routines for the processor, and the last digits of trained models depend on them. These run on every
# x86-64 processor with AVX2. They are chosen when numpy is loaded, so this must happen before.
os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
