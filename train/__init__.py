"""The trainer of RegVQ Studio: commands at the top, and the folders that they share.

Its name is ``train`` in the source tree and ``regvq_train`` when it is installed. Recipes of your
own import ``regvq_train`` in both cases.
"""

import sys

if __name__ == "train" and "regvq_train" not in sys.modules:
    from regvq._names import _AliasFinder

    sys.modules["regvq_train"] = sys.modules["train"]
    sys.meta_path.insert(0, _AliasFinder("regvq_train", "train"))
