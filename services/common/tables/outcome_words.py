"""What tables write for a right and for a wrong answer, in upper or lower case, where nobody says how they do."""

from __future__ import annotations

RIGHT = ("1", "1.0", "true", "t", "yes", "y", "correct", "right")
WRONG = ("0", "0.0", "false", "f", "no", "n", "incorrect", "wrong")
