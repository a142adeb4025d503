"""Import every module of an installed lightning_embed, and fail if what is found is the source tree.

python -I scripts/import_every_module.py [folder to look in first]     (-I keeps the current folder out of the search)
"""

import importlib
import pkgutil
import sys
from pathlib import Path

sys.path[:0] = sys.argv[1:]
package = importlib.import_module("lightning_embed")

home = Path(str(package.__file__)).resolve().parent
if home == Path(__file__).resolve().parents[1] / "lightning_embed":
    sys.exit(f"imported from the source tree, not from an installed wheel: {home}")

names = [module.name for module in pkgutil.walk_packages(package.__path__, "lightning_embed.")]
for name in names:
    importlib.import_module(name)
print(f"lightning_embed {package.__version__} and its {len(names)} modules imported from {home}")
